"""Stand-ins for what a chapter asks of Kafka: kept frames, batches and experiments answer in its place, or nothing."""

import builtins
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from types import SimpleNamespace
from typing import Any

from streaming_lab.analysis import plain_tables
from streaming_lab.client import topics
from streaming_lab.cluster import run_topics
from streaming_lab.cluster.base import Broker, Description
from streaming_lab.delivery.ways import log_class
from streaming_lab.handin.kept_run import KeptRun
from streaming_lab.reader.decode import python
from streaming_lab.reader.decode.records import index_values
from streaming_lab.reader.decode.schema import Schema, compile_plan
from streaming_lab.reader.frames import TopicFrame, build_frames
from streaming_lab.reader.pipeline import Part, ResultBuilder
from streaming_lab.report import record


class NotKept(Exception):
    """A cell asked for what only a broker, a clock or another program can give, and what the run did not keep."""


def not_kept(what: str) -> Callable[..., Any]:
    """A function that raises `NotKept`."""

    def refuse(*_: Any, **__: Any) -> Any:
        raise NotKept(what)

    return refuse


class Overlay:
    """A module with some names replaced."""

    def __init__(self, module: Any, names: Mapping[str, Any]) -> None:
        self.__dict__.update(names)
        self._module = module

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)


class StandIns:
    """Everything that the reference's cells import in place of Kafka; `guessed` is set when a value was made up.

    `results` collects what the cells hand to the report.
    """

    def __init__(self, kept: KeptRun) -> None:
        self.kept = kept
        self.guessed = False
        self.results: dict[str, Any] = {}
        self._own: dict[str, list[bytes]] = {}  # topics of the chapter's own records, by name

    def importer(self) -> Callable[..., Any]:
        """An `__import__` that hands out these stand-ins and, for anything else, the module itself."""
        names = self._names()

        def find(name: str, globals: Any = None, locals: Any = None, fromlist: Any = (), level: int = 0) -> Any:
            module = builtins.__import__(name, globals, locals, fromlist, level)
            if name == "streaming_lab.scaling":
                return Overlay(module, self._scaling(module))
            return Overlay(module, names[name]) if name in names else module

        return find

    def _names(self) -> dict[str, dict[str, Any]]:
        overlays: dict[str, Any] = {
            "topics": Overlay(
                topics,
                {
                    "end_offsets": self._end_offsets,
                    "written_between": self._written_between,
                    "describe_topic": not_kept("the topic's description"),
                },
            ),
            "run_topics": Overlay(
                run_topics, {"create_run_topic": self._create_topic, "run_id": lambda: self.kept.run.run_id}
            ),
            "ways": SimpleNamespace(open_log=self._open_log),
            "server": SimpleNamespace(GameServer=self._game_server),
            "web": SimpleNamespace(create_app=self._create_app),
        }
        kafka = {"KafkaConsumer": not_kept("a consumer"), "KafkaProducer": self._producer}
        return {
            "streaming_lab.client": {"topics": overlays["topics"]},
            "streaming_lab.cluster": {"attach": self._attach, "run_topics": overlays["run_topics"]},
            "streaming_lab.delivery": {"ways": overlays["ways"]},
            "streaming_lab.game": {
                "server": overlays["server"],
                "web": overlays["web"],
                "players": SimpleNamespace(run_crowd=lambda *_, **__: self.kept.frame("requests")),
            },
            "streaming_lab.game.server": {"GameServer": not_kept("a server's answers")},
            "streaming_lab.reader": {
                "read_topic": self._read_topic,
                "read_text": not_kept("the topic's lines"),
                "read_record_batches": lambda *_: self.kept.frame("batches"),
            },
            "streaming_lab.report": {"record": Overlay(record, {"save_result": self._save})},
            "streaming_lab.report.record": {"save_result": self._save, "load_frame": self.kept.frame},
            "streaming_lab.seed.then_and_now": {"beside_today": not_kept("the output of other programs")},
            "streaming_lab.seed.at_import": {"try_both": not_kept("other servers' answers")},
            "streaming_lab.analysis": {
                "plain_tables": Overlay(plain_tables, {"connection_table": self._connection_table})
            },
            "streaming_lab.seed": {"then_and_now": SimpleNamespace(beside_today=not_kept("other programs"))},
            "streaming_lab.faults.side_by_side": {
                "Lanes": lambda *_, **__: SimpleNamespace(result=self._experiments_of, close=lambda: None)
            },
            "kafka": kafka,
            "requests": {"Session": not_kept("a server's answers"), "get": not_kept("a server's answers")},
            "timeit": {"timeit": not_kept("times"), "default_timer": not_kept("times")},
        }

    def _scaling(self, module: Any) -> dict[str, Any]:
        """The experiments of chapters 05 and 06: their counts as kept; what else they found was not."""
        told: dict[str, dict[str, Any]] = {
            "leader_kill": {"kill_leader": _NotThere("a killed leader"), "acks_numbers": "acks"},
            "keys": {"spread_keys": _NotThere("the keyed events"), "order_and_balance": "keys"},
            "groups": {"share_topic": _NotThere("the group's events")},
            "commits": {"crash_between": "effects"},
            "sliced_tables": {"run_engines": _NotThere("what each engine read")},
        }
        return {
            room: Overlay(getattr(module, room), {name: self._kept_or_not(one) for name, one in names.items()})
            for room, names in told.items()
            if hasattr(module, room)
        }

    def _kept_or_not(self, one: Any) -> Callable[..., Any]:
        return lambda *_, **__: self.kept.frame(one) if isinstance(one, str) else one

    def _attach(self, name: str, instance: str = "", **_: Any) -> Any:
        return _KeptCluster(self, name, own=bool(instance))

    def _create_topic(self, _: Any, name: str, **__: Any) -> str:
        plain = self.kept.topic
        return name if plain is None or "-events-" not in plain else f"{name}-{self.kept.run.run_id}"

    def _connection_table(self, connection: Mapping[str, Any]) -> Any:
        self.guessed = True  # settings beside the addresses, and the address as it was typed, were not kept
        return plain_tables.connection_table(connection)

    def _end_offsets(self, _: Any, topic: str) -> dict[int, int]:
        if topic == self.kept.topic:
            return {partition: end for partition, (_, end) in self.kept.ranges.items()}
        self.guessed = True
        return {0: len(self._own.setdefault(topic, []))}

    def _written_between(self, before: Mapping[int, int], after: Mapping[int, int]) -> dict[int, tuple[int, int]]:
        if before.keys() == self.kept.ranges.keys() and before == after:
            return dict(self.kept.ranges)
        return {partition: (before.get(partition, 0), end) for partition, end in after.items()}

    def _open_log(self, way: str, *_: Any, **__: Any) -> Any:
        kind = log_class(way)
        counts = SimpleNamespace(acknowledged=self.kept.acknowledged)
        log = nullcontext()
        log.__dict__.update(guarantee=kind.guarantee, awaits_broker=kind.awaits_broker, counts=counts)
        return log

    def _create_app(self, *_: Any, **__: Any) -> Any:
        return SimpleNamespace(extensions={"game": SimpleNamespace(world=self.kept.world)})

    def _game_server(self, *_: Any, **__: Any) -> AbstractContextManager[Any]:
        return nullcontext(SimpleNamespace(url="http://127.0.0.1"))

    def _producer(self, **_: Any) -> Any:
        return nullcontext(SimpleNamespace(send=lambda topic, value: self._own.setdefault(topic, []).append(value)))

    def _read_topic(self, _: Any, topic: str, schema: Schema, **__: Any) -> TopicFrame:
        if topic == self.kept.topic:
            return self.kept.topic_frame
        self.guessed = True
        values, plan, gathered = self._own.get(topic, []), compile_plan(schema, None), ResultBuilder()
        columns: list[Any] = [list(range(len(values))), [0] * len(values), [None] * len(values), values]
        decoded = python.decode_records(plan, 0, index_values(*columns), len(values))
        gathered.add(Part(0, plan, decoded))
        return build_frames(gathered, plan, {0: (0, len(values))}, "python", None)

    def _save(self, name: str, value: Any) -> None:
        self.results[name] = value

    def _experiments_of(self, fault: Any) -> list[Any]:
        taken = [one for one in self.kept.experiments if one.fault.name == fault.name]
        if not taken:
            raise NotKept(f"the experiment: {fault.name}")
        return taken


class _NotThere:
    """A result that was not kept: whoever looks into it can't be told anything."""

    def __init__(self, what: str) -> None:
        self.__dict__["_what"] = what

    def __getattr__(self, name: str) -> Any:
        raise NotKept(self._what)

    def __getitem__(self, name: Any) -> Any:
        raise NotKept(self._what)


class _KeptCluster:
    """The cluster as the record describes it; nothing can be asked of it."""

    def __init__(self, stand_ins: StandIns, name: str, *, own: bool = False) -> None:
        self._stand_ins, self._own = stand_ins, own
        kinds = ("embedded", "compose")
        self.kind = next((kind for kind in kinds if name.startswith(kind)), "external")
        self.name = name
        self.ready_seconds = None  # in a report the cluster runs before the first cell

    @property
    def connection(self) -> dict[str, Any]:
        """The recorded addresses, for cells that show them; no cell can connect."""
        brokers = (self._stand_ins.kept.run.cluster or {}).get("brokers", ())
        return {"bootstrap_servers": [f"{one['host']}:{one['port']}" for one in brokers]}

    def describe(self) -> Any:
        description = self._stand_ins.kept.run.cluster
        if not description or self._own:
            raise NotKept("the cluster's description")
        return Description(**{**description, "brokers": tuple(Broker(**one) for one in description["brokers"])})

    def check(self) -> None:
        """Nothing is asked of a broker."""

    def close(self, **_: Any) -> None:
        """Nothing is open."""
