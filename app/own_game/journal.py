"""The journal of a hosted game: each request and each send with its outcome, one JSON line each, also after SIGKILL."""

import json
import os
import threading
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

JOURNAL_FILE = "journal.jsonl"  # in the game's scratch folder
SEND_HEADER = "lab-send-id"  # the header of each record that tells its send
LONGEST_ERROR = 200  # characters of an error's first line


class Journal:
    """Writes entries at once, each in one call, so that a killed process leaves whole lines; None writes nothing."""

    def __init__(self, path: Path | None) -> None:
        self._file = None if path is None else os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._lock = threading.Lock()

    def note(self, what: str, **facts: Any) -> None:
        """Append one entry."""
        if self._file is not None:
            line = json.dumps({"what": what, **facts}, ensure_ascii=False, default=str) + "\n"
            with self._lock:
                os.write(self._file, line.encode("utf-8", "backslashreplace"))

    def close(self) -> None:
        """Close the file; further entries go nowhere."""
        with self._lock:
            file, self._file = self._file, None
        if file is not None:
            os.close(file)


@dataclass(frozen=True)
class Send:
    """One call of `send`: by which request, into which topic, from which line, and what came of it.

    `outcome` is delivered, failed, raised (the call itself failed) or unknown (no report until the end); `awaited` is
    result, callback, flush or nothing.
    """

    send_id: str
    request_id: str | None
    topic: str
    written: str
    where: str
    outcome: str = "unknown"
    error: str = ""
    awaited: str = ""


@dataclass(frozen=True)
class ServedRequest:
    """One request as the game's process saw it; `began` in seconds since 1970, `error` the first line of one."""

    request_id: str
    method: str
    rule: str
    status: int
    error: str = ""
    host: str = ""
    began: float = 0.0
    milliseconds: float = 0.0


@dataclass(frozen=True)
class Story:
    """All that a journal says."""

    requests: tuple[ServedRequest, ...] = ()
    sends: tuple[Send, ...] = ()

    @property
    def topics(self) -> dict[str, str]:
        """The game's own name of each topic -> the name in the cluster."""
        return {send.topic: send.written for send in self.sends}


def read_journal(path: Path) -> Story:
    """The journal so far; a last line that is not whole is left out."""
    text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
    return tell_story(json.loads(line) for line in text.split("\n")[:-1] if line)


def tell_story(entries: Iterable[dict[str, Any]]) -> Story:
    """The story of entries in their order."""
    requests, sends, flushed = [], dict[str, Send](), set[str]()
    for entry in entries:
        what = entry.pop("what")
        if what == "request":
            requests.append(ServedRequest(**entry))
        elif what == "send":
            sends[entry["send_id"]] = Send(**entry)
        elif what == "flush":
            flushed.add(entry["request_id"])
        elif (send := sends.get(entry.pop("send_id"))) is not None:
            sends[send.send_id] = replace(send, **{**entry, "awaited": entry.get("awaited") or send.awaited})
    waited = (
        replace(send, awaited="flush") if send.request_id in flushed and not send.awaited else send
        for send in sends.values()
    )
    return Story(tuple(requests), tuple(waited))


def error_line(error: BaseException) -> str:
    """The type and the first line of an error, of bounded length."""
    first = next(iter(str(error).splitlines()), "")
    return f"{type(error).__name__}: {first}"[:LONGEST_ERROR].rstrip(": ")
