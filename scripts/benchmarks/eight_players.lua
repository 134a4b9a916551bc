-- Each wrk thread has one connection and is one player; the summary is one line of JSON.
local threads = 0

function setup(thread)
   threads = threads + 1
   thread:set("player", "player-" .. threads)
end

function request()
   return wrk.format("GET", "/purchase_a_sword?player=" .. player)
end

function done(summary, latency, requests)
   io.write(string.format(
      'JSON {"requests": %d, "seconds": %.6f, "p50_ms": %.4f, "p99_ms": %.4f, "bad": %d}\n',
      summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
      summary.errors.status + summary.errors.connect + summary.errors.read + summary.errors.timeout))
end
