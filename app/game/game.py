"""The game's core: a command is decided, its event logged, the world moved, and the answer remembered."""

import heapq
import sys
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Protocol

from streaming_lab.delivery.outcome import Counts, Refused, Undecided
from streaming_lab.game.events import ACTIONS, EVENT_TYPES, Event
from streaming_lab.game.rules import Command, RuleBroken, World, decide


class KeyedLocks:
    """A lock per name; memory grows with the names that are locked at this moment, not with all names so far."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._locks: dict[str, tuple[threading.Lock, int]] = {}  # and how many threads hold or await it

    @contextmanager
    def locked(self, name: str) -> Iterator[None]:
        """Hold the lock of this name."""
        with self._guard:
            lock, users = self._locks.get(name) or (threading.Lock(), 0)
            self._locks[name] = (lock, users + 1)
        try:
            with lock:
                yield
        finally:
            with self._guard:
                lock, users = self._locks.pop(name)
                if users > 1:
                    self._locks[name] = (lock, users - 1)

    def __len__(self) -> int:
        return len(self._locks)


ANSWERS_REMEMBERED = 100_000  # answers; the oldest are forgotten first
ANSWERS_BYTES = 64 << 20  # the most memory that they take: 100,000 usual ones take half of it
ANSWER_OVERHEAD = 420  # bytes of an answer beside its texts: the entry, its tuples, an error's fields

Intent = tuple[str, str, str | None]  # player, action, guild


@dataclass(frozen=True, slots=True)
class Answer:
    """A status and its body; `body` is text for the player, or the fields of an error."""

    status: int
    body: str | dict[str, str | None]


class IdempotencyCache:
    """The newest final answers by request id, and the ids of requests in flight, each with the intent of its command.

    A request that is repeated under its id gets the first answer again and causes no second event.
    """

    def __init__(self, limit: int = ANSWERS_REMEMBERED, limit_bytes: int = ANSWERS_BYTES) -> None:
        self.limit = limit
        self.bytes = 0  # about what the final answers take
        self._limit_bytes = limit_bytes
        self._lock = threading.Lock()  # held for a few instructions only, never while waiting
        self._final: OrderedDict[str, tuple[Intent, Answer]] = OrderedDict()
        self._in_flight: dict[str, tuple[Intent, int]] = {}  # with the number of claims

    def claim(self, request_id: str, intent: Intent) -> None:
        """Claim an id for an intent; RuleBroken (422) when the id stands for another intent."""
        with self._lock:
            known = self._final.get(request_id) or self._in_flight.get(request_id)
            if known and known[0] != intent:
                rule = "a request id stands for one player and one command; take a new id for a new command"
                raise RuleBroken("X-Request-Id", request_id, rule, 422)
            self._in_flight[request_id] = (intent, self._in_flight.get(request_id, (intent, 0))[1] + 1)

    def release(self, request_id: str) -> None:
        """Give one claim back."""
        with self._lock:
            intent, holders = self._in_flight.pop(request_id)
            if holders > 1:
                self._in_flight[request_id] = (intent, holders - 1)

    @contextmanager
    def claimed(self, request_id: str, intent: Intent) -> Iterator[None]:
        """`claim`, and `release` at the end."""
        self.claim(request_id, intent)
        try:
            yield
        finally:
            self.release(request_id)

    def remember(self, request_id: str, intent: Intent, answer: Answer) -> None:
        """Keep a final answer; beyond the limits of number and of bytes the oldest answers are forgotten."""
        with self._lock:
            if replaced := self._final.get(request_id):
                self.bytes -= answer_size(request_id, *replaced)
            self._final[request_id] = (intent, answer)
            self.bytes += answer_size(request_id, intent, answer)
            while len(self._final) > self.limit or self.bytes > self._limit_bytes:
                oldest, (its_intent, its_answer) = self._final.popitem(last=False)
                self.bytes -= answer_size(oldest, its_intent, its_answer)

    def get(self, request_id: str) -> Answer | None:
        """The final answer to that id, or None when the cache does not have it."""
        known = self._final.get(request_id)
        return known[1] if known else None

    def __len__(self) -> int:
        return len(self._final)


def answer_size(request_id: str, intent: Intent, answer: Answer) -> int:
    """About the bytes that a remembered answer takes; the texts of a 200 and of a rule exist once for all."""
    texts = [request_id, intent[0], intent[2]]
    if isinstance(answer.body, dict):
        texts.append(answer.body["value"])
    return ANSWER_OVERHEAD + sum(sys.getsizeof(text) for text in texts if text is not None)


DONE = {action: Answer(200, one.text) for action, one in ACTIONS.items()}

UNKNOWN_DELIVERY = "the broker has not said yet whether it has the event; ask again with the same X-Request-Id"
BEHIND = "the delivery of this player's last event is still unknown; ask again when it is decided"


class Log(Protocol):
    """An event log as the game needs it."""

    def append(self, key: str, value: bytes, event_id: str) -> None:
        """Return when the event is as safe as the log guarantees; raise `Refused` or `Undecided` otherwise."""

    def ready(self) -> bool:
        """Whether an event would be accepted now."""

    @property
    def last_reasons(self) -> dict[str, str]:
        """Why the last event of a count (failed, refused, unknown) is in it."""

    @property
    def counts(self) -> Counts:
        """The fates of all events so far."""


class Game:
    """The world, the event log, and the rules between them; `answer` may be called from any thread.

    The commands of one player are handled one at a time; the world moves only when the log has accepted the event.
    """

    def __init__(
        self, log: Log, world: World, history: Iterable[Event] = (), remember: int = ANSWERS_REMEMBERED
    ) -> None:
        self.log = log
        self.world = world
        self.answers = IdempotencyCache(remember)
        self._locks = KeyedLocks()
        self._moving = threading.Lock()  # guards `world`; held for one move, never while waiting
        self.waits_for = ""  # why no command is handled yet; empty once the history has been read
        self._undecided: dict[str, str] = {}  # player -> the request id whose delivery is unknown
        self._rebuild(history)

    def rebuild(self, history: Iterable[Event]) -> None:
        """Fold the history into a new world, instead of whatever an attempt that failed has left."""
        self.world = World()
        self._rebuild(history)

    def answer(self, command: Command) -> Answer:
        """The answer to a command; the same id again gets the same answer. Waits as long as the log does.

        Raises RuleBroken: 400 for a bad name, 422 for an id that stands for another command.
        """
        if self.waits_for:
            return _not_now("refused", self.waits_for)
        with self.answers.claimed(command.request_id, command.intent), self._locks.locked(command.player):
            # This order matters: a late report first remembers the answer, then takes the player off the list.
            undecided = self._undecided.get(command.player)
            known = self.answers.get(command.request_id)
            if known:
                return known
            if undecided:
                same = undecided == command.request_id
                return _not_now("unknown", UNKNOWN_DELIVERY) if same else _not_now("refused", BEHIND)
            return self._handle(command)

    def preview(self, command: Command) -> Answer:
        """The answer that the command would get now; nothing is logged, moved, or remembered."""
        return _not_now("refused", self.waits_for) if self.waits_for else self._judge(command)[1]

    @property
    def undecided(self) -> int:
        """The number of players whose last event has no delivery report yet."""
        return len(self._undecided)

    def _handle(self, command: Command) -> Answer:
        events, answer = self._judge(command)
        for event in events:
            try:
                self.log.append(event.player, event.to_bytes(), event.event_id)
            except Refused as refused:
                return _not_now("refused", refused.problem)
            except Undecided as late:
                return self._await_report(command, event, late)
            self._move(event)
        self.answers.remember(command.request_id, command.intent, answer)
        return answer

    def _judge(self, command: Command) -> tuple[tuple[Event, ...], Answer]:
        try:
            return decide(self.world, command), DONE[command.action]
        except RuleBroken as broken:
            if broken.status != 409:
                raise
            return (), explain_broken_rule(broken)

    def _await_report(self, command: Command, event: Event, late: Undecided) -> Answer:
        self._undecided[command.player] = command.request_id
        self.answers.claim(command.request_id, command.intent)
        late.outcome.add_done_callback(partial(self._report, command, event))
        return _not_now("unknown", f"{UNKNOWN_DELIVERY} ({late.why})" if late.why else UNKNOWN_DELIVERY)

    def _report(self, command: Command, event: Event, delivered: bool) -> None:
        # Runs on the delivery thread, however late: takes only locks that no thread holds while it waits.
        if delivered:
            self._move(event)
            self.answers.remember(command.request_id, command.intent, DONE[command.action])
        del self._undecided[command.player]
        self.answers.release(command.request_id)

    def _move(self, event: Event) -> None:
        with self._moving:
            self.world.move(event)

    def _rebuild(self, history: Iterable[Event]) -> None:
        seen: set[str] = set()  # every id, remembered or not: two copies of an event may lie far apart
        newest: list[tuple[datetime, int, Event]] = []  # a heap: partitions come one after another, not by time
        for event in history:
            if event.event_id in seen:
                continue
            seen.add(event.event_id)
            self.world.move(event)
            heapq.heappush(newest, (event.at, len(seen), event))
            if len(newest) > self.answers.limit:
                heapq.heappop(newest)
        for _, _, event in sorted(newest):
            action = EVENT_TYPES[event.event_type].action
            self.answers.remember(event.event_id, (event.player, action, event.fields.get("guild")), DONE[action])


def explain_broken_rule(broken: RuleBroken) -> Answer:
    """A broken rule as an answer: field, value (cut to 80 characters) and rule."""
    value = broken.value if broken.value is None or len(broken.value) <= 80 else broken.value[:80] + "…"
    return Answer(broken.status, {"field": broken.field, "value": value, "rule": broken.rule})


def _not_now(word: str, rule: str) -> Answer:
    return Answer(503, {"field": "delivery", "value": word, "rule": rule})
