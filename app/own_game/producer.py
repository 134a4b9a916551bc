"""kafka-python's producer, watched: the lab's address, topics made at their first send, every send counted.

The class itself is changed, so that a game's `from kafka import KafkaProducer` and its subclasses are watched as well.
A producer connects at its first use, in the process that uses it: one made before a fork works in the child.
"""

import itertools
import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import KafkaError, KafkaTimeoutError
from kafka.producer.future import FutureProduceResult, FutureRecordMetadata

from streaming_lab.client import topics
from streaming_lab.client.connection import Connection, kafka_python_settings
from streaming_lab.errors import LabError
from streaming_lab.own_game.journal import SEND_HEADER, Journal, error_line

FUTURES_KEPT = 10_000  # futures of which it is noted when the game asks for their result
STAMPED = {"message.timestamp.type": "LogAppendTime"}
# what a game's settings say of the cluster: the lab's own stand instead
OF_THE_CLUSTER = ("bootstrap_servers", "api_version", "security_protocol", "sasl_", "ssl_")

current_request: ContextVar[str | None] = ContextVar("current_request", default=None)


class BrokerNeeded(LabError):
    """A game that asks Kafka something while it is imported, before there is a cluster."""


class ProducerWatch:
    """Changes `KafkaProducer` from `install` to `uninstall`; a producer that was made before is left alone.

    `connection` None: nothing may connect. `name_of` gives the name in the cluster for a topic's name in the game.
    """

    def __init__(
        self, connection: Connection | None, journal: Journal, root: Path, name_of: Callable[[str], str] = str
    ) -> None:
        self._connection = connection
        self._journal = journal
        self._root = root
        self._name_of = name_of
        self._numbers = itertools.count(1)
        self._lock = threading.RLock()
        self._topics: set[str] = set()
        self._made: list[Any] = []
        self._pending: dict[str, Any] = {}
        self._latest: deque[tuple[Any, str]] = deque(maxlen=FUTURES_KEPT)
        self._ids: dict[int, str] = {}  # id of a future in `_latest` -> its send
        self._before: list[tuple[type, str, Any]] = []

    def install(self) -> None:
        """Change the classes."""
        for name in ("send", "flush", "close", "__init__", "__del__", "__getattr__"):
            self._replace(KafkaProducer, name, getattr(self, f"_{name.strip('_')}"))
        for name, kind in (("get", "result"), ("add_callback", "callback"), ("add_errback", "callback")):
            self._replace(FutureRecordMetadata, name, self._noting(kind))
        for client in (KafkaConsumer, KafkaAdminClient):
            self._replace(client, "__init__", self._client)
        self._replace(KafkaConsumer, "subscribe", self._subscribe)

    def uninstall(self) -> None:
        """Put everything back."""
        for owner, name, original in reversed(self._before):
            if original is None:
                delattr(owner, name)
            else:
                setattr(owner, name, original)
        self._before.clear()

    def close(self, timeout: float = 2.0) -> None:
        """Close the producers that this watch connected in this process."""
        with self._lock:
            made, self._made = list(self._made), []
        for producer in made:
            with suppress(KafkaError):
                producer.close(timeout=timeout)

    @property
    def pending(self) -> list[str]:
        """The ids of sends whose outcome is open."""
        return list(self._pending)

    def _replace(self, owner: type, name: str, make: Callable[[Any], Any]) -> None:
        own = vars(owner).get(name)  # None: inherited, or not there
        setattr(owner, name, make(getattr(owner, name, None)))
        self._before.append((owner, name, own))

    def _init(self, original: Any) -> Any:
        def init(producer: Any, **configs: Any) -> None:
            producer.__dict__["config"] = dict(KafkaProducer.DEFAULT_CONFIG)  # for its `__str__`, and so its end
            unknown = configs.keys() - KafkaProducer.DEFAULT_CONFIG.keys() - set(KafkaProducer.DEPRECATED_CONFIGS)
            if unknown:
                raise ValueError(f"Unrecognized configs: { {name: configs[name] for name in unknown} }")
            producer.__dict__["_lab"] = {"configs": configs, "pid": 0}

        self._original_init = original
        return init

    def _getattr(self, original: Any) -> Any:
        def getattr_(producer: Any, name: str) -> Any:
            made = not name.startswith("__") and self._make(producer)  # or waits until another thread has made it
            if not made and name not in producer.__dict__:
                raise AttributeError(f"{type(producer).__name__!r} object has no attribute {name!r}")
            return getattr(producer, name)

        return getattr_

    def _make(self, producer: Any) -> bool:
        """Connect a producer of this watch, once for each process; False if there was nothing to do."""
        lab = producer.__dict__.get("_lab")
        with self._lock:
            if lab is None or lab["pid"] == os.getpid():
                return False
            settings = self._settings_of(lab["configs"])
            _clear_but_lab(producer)
            producer.__dict__["_lab"] = {**lab, "pid": os.getpid()}
            try:
                self._original_init(producer, **settings)
            except BaseException:
                _clear_but_lab(producer)
                producer.__dict__["_lab"] = lab
                raise
            self._made.append(producer)
            return True

    def _send(self, original: Any) -> Any:
        def send(producer: Any, topic: str, *args: Any, **more: Any) -> Any:
            if "_lab" not in producer.__dict__:
                return original(producer, topic, *args, **more)
            return self._watched_send(original, producer, topic, args, more)

        return send

    def _watched_send(self, original: Any, producer: Any, topic: str, args: Any, more: dict[str, Any]) -> Any:
        send_id = f"{os.getpid()}-{next(self._numbers)}"
        written = self._name_of(topic) if isinstance(topic, str) else topic
        self._journal.note(
            "send",
            send_id=send_id,
            request_id=current_request.get(),
            topic=topic,
            written=written,
            where=self._caller(),
        )
        names = ("value", "key", "headers", "partition", "timestamp_ms")
        given = {**dict(zip(names, args, strict=False)), **more}
        if self._connection is None:
            return pretended_future(topic)
        given["headers"] = [*(given.get("headers") or []), (SEND_HEADER, send_id.encode())]
        try:
            self._make(producer)
            self._create_topic(written)
            future = original(producer, written, **given)
        except BaseException as error:
            self._journal.note("outcome", send_id=send_id, outcome="raised", error=error_line(error))
            raise
        self._pending[send_id] = future
        future.add_both(lambda *_: self._settle(send_id, future))
        self._remember(future, send_id)
        return future

    def _remember(self, future: Any, send_id: str) -> None:
        # kafka-python's futures take neither attributes nor weak references
        with self._lock:
            if len(self._latest) == FUTURES_KEPT:
                self._ids.pop(id(self._latest[0][0]), None)
            self._latest.append((future, send_id))
            self._ids[id(future)] = send_id

    def _settle(self, send_id: str, future: Any) -> None:
        fine = future.succeeded()
        error = "" if fine else error_line(future.exception)
        self._journal.note("outcome", send_id=send_id, outcome="delivered" if fine else "failed", error=error)
        self._pending.pop(send_id, None)

    def _create_topic(self, name: str) -> None:
        with self._lock:
            assert self._connection is not None
            if name in self._topics:
                return
            try:
                topics.create_topic(self._connection, name, config=STAMPED)
            except LabError as error:  # what the game would meet without the lab
                raise KafkaTimeoutError(f"Failed to update metadata: {error.problem}") from error
            self._topics.add(name)

    def _flush(self, original: Any) -> Any:
        def flush(producer: Any, *args: Any, **more: Any) -> Any:
            if producer.__dict__.get("_lab", {}).get("pid") == 0:
                return None  # nothing was sent
            self._journal.note("flush", request_id=current_request.get())
            return original(producer, *args, **more)

        return flush

    def _close(self, original: Any) -> Any:
        def close(producer: Any, *args: Any, **more: Any) -> Any:
            return None if producer.__dict__.get("_lab", {}).get("pid") == 0 else original(producer, *args, **more)

        return close

    _del = _close

    def _noting(self, kind: str) -> Callable[[Any], Any]:
        def make(original: Any) -> Any:
            def noting(future: Any, *args: Any, **more: Any) -> Any:
                send_id = self._ids.get(id(future))
                if send_id is not None:
                    self._journal.note("awaited", send_id=send_id, awaited=kind)
                return original(future, *args, **more)

            return noting

        return make

    def _client(self, original: Any) -> Any:
        def init(client: Any, *names: Any, **configs: Any) -> None:
            settings = self._settings_of(configs)
            original(client, *map(self._name_of, names), **settings)

        return init

    def _subscribe(self, original: Any) -> Any:
        def subscribe(client: Any, topics: Any = (), *args: Any, **more: Any) -> Any:
            return original(client, [*map(self._name_of, topics)], *args, **more)

        return subscribe

    def _settings_of(self, configs: Mapping[str, Any]) -> dict[str, Any]:
        """What a client is given: the game's own settings, but for those of the cluster, which are the lab's."""
        if self._connection is None:
            raise BrokerNeeded("the game talks to Kafka while it is imported", "Move that into a function.")
        own = {name: value for name, value in configs.items() if not name.startswith(OF_THE_CLUSTER)}
        return dict(**own, **kafka_python_settings(self._connection))

    def _caller(self) -> str:
        """The innermost line of the game itself on the stack."""
        frame: Any = sys._getframe(1)
        while frame is not None:
            file = Path(frame.f_code.co_filename)
            if file.is_relative_to(self._root) and "site-packages" not in file.parts:
                return f"{file.relative_to(self._root).as_posix()}:{frame.f_lineno}"
            frame = frame.f_back
        return ""


def _clear_but_lab(producer: Any) -> None:
    """Take a producer's attributes away, but for the watch's own: another thread may be about to send."""
    for name in [name for name in producer.__dict__ if name != "_lab"]:
        del producer.__dict__[name]


def pretended_future(topic: str) -> FutureRecordMetadata:
    """What `send` returns in a probe, where no broker is: a game may send while it is imported."""
    result = FutureProduceResult(TopicPartition(topic, 0))
    result.success((0, 0, None))
    return FutureRecordMetadata(result, 0, None, None, -1, -1, -1)


@contextmanager
def requests_counted(request_id: str) -> Iterator[None]:
    """Count the sends of this block for a request."""
    token = current_request.set(request_id)
    try:
        yield
    finally:
        current_request.reset(token)


def prefixed_names(prefix: str) -> Callable[[str], str]:
    """Names in the cluster that belong to one run: `prefix` and the game's own name."""
    return lambda name: f"{prefix}{name}"
