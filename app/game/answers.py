"""What each request id was answered, so that a request that comes twice happens once."""

import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from streaming_lab.game.rules import RuleBroken

REMEMBERED = 100_000  # answers; the oldest are forgotten first. About 35 MB when full.

Intent = tuple[str, str, str | None]  # player, action, guild


@dataclass(frozen=True, slots=True)
class Answer:
    """A status and its body; `body` is text for the player, or the fields of an error."""

    status: int
    body: str | dict[str, str | None]


class Answers:
    """The newest final answers by request id, and the ids in hand, each with the intent that it stands for."""

    def __init__(self, limit: int = REMEMBERED) -> None:
        self.limit = limit
        self._lock = threading.Lock()  # held for a few instructions only, never while waiting
        self._final: OrderedDict[str, tuple[Intent, Answer]] = OrderedDict()
        self._in_hand: dict[str, tuple[Intent, int]] = {}  # how many hold it

    def claim(self, request_id: str, intent: Intent) -> None:
        """Hold an id for an intent; RuleBroken (422) when the id stands for another one."""
        with self._lock:
            known = self._final.get(request_id) or self._in_hand.get(request_id)
            if known and known[0] != intent:
                rule = "a request id stands for one player and one command; take a new id for a new command"
                raise RuleBroken("X-Request-Id", request_id, rule, 422)
            self._in_hand[request_id] = (intent, self._in_hand.get(request_id, (intent, 0))[1] + 1)

    def release(self, request_id: str) -> None:
        """Give one claim back."""
        with self._lock:
            intent, holders = self._in_hand.pop(request_id)
            if holders > 1:
                self._in_hand[request_id] = (intent, holders - 1)

    @contextmanager
    def claimed(self, request_id: str, intent: Intent) -> Iterator[None]:
        """`claim`, and `release` at the end."""
        self.claim(request_id, intent)
        try:
            yield
        finally:
            self.release(request_id)

    def remember(self, request_id: str, intent: Intent, answer: Answer) -> None:
        """Keep a final answer; at the limit the oldest one is forgotten."""
        with self._lock:
            self._final[request_id] = (intent, answer)
            if len(self._final) > self.limit:
                self._final.popitem(last=False)

    def get(self, request_id: str) -> Answer | None:
        """The final answer to that id, if it is still remembered."""
        known = self._final.get(request_id)
        return known[1] if known else None

    def __len__(self) -> int:
        return len(self._final)
