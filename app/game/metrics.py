"""What the game counts, for Prometheus: read from the log when it is asked, never kept twice."""

from collections.abc import Iterator

from flask import Response
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from streaming_lab.game.play import Game

BUCKETS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)  # seconds

COUNTED = {
    "accepted": "Events whose append returned: the player was answered 200.",
    "acknowledged": "Events that the broker has acknowledged.",
    "failed": "Events whose delivery was reported as failed.",
    "unknown": "Events that were undecided when the request's wait was over, whatever came later.",
    "refused": "Events that the log did not take.",
    "relayed": "Rows of the outbox that the broker has acknowledged.",
}


class Metrics:
    """The metrics of one game, in a registry of its own: two games in one process do not mix."""

    def __init__(self, game: Game) -> None:
        self._game = game
        self._registry = CollectorRegistry()
        self._registry.register(self)
        self._requests = Counter(
            "game_requests", "Requests answered, by action and status.", ["action", "status"], registry=self._registry
        )
        self._seconds = Histogram(
            "game_request_seconds", "From request to answer.", ["action"], buckets=BUCKETS, registry=self._registry
        )

    def seen(self, action: str, status: int, seconds: float) -> None:
        """Count one answered request and its time."""
        self._requests.labels(action, str(status)).inc()
        self._seconds.labels(action).observe(seconds)

    def collect(self) -> Iterator[Metric]:
        """The log's counts of this moment (prometheus_client calls it)."""
        counts = self._game.log.counts
        for name, meaning in COUNTED.items():
            yield CounterMetricFamily(f"game_events_{name}", meaning, value=getattr(counts, name))
        yield GaugeMetricFamily("game_events_queued", "Events handed over and not decided yet.", value=counts.queued)
        yield GaugeMetricFamily(
            "game_players_undecided", "Players who wait for a delivery report.", value=self._game.undecided
        )
        yield GaugeMetricFamily(
            "game_answers_remembered", "Request ids whose answer is remembered.", value=len(self._game.answers)
        )

    def exposition(self) -> Response:
        """All of it in Prometheus' text format."""
        return Response(generate_latest(self._registry), content_type=CONTENT_TYPE_LATEST)
