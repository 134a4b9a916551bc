"""A judge of the delivery guarantees that uses none of the lab's own judges: no reader, no delivery code, no injector.

Players send requests through http.client and note each answer; broker and game are killed, paused and restarted at
random moments, the game's clock is set, its disk is full, its power is cut; kafka-python's stock consumer reads the
topic; the rules are written down here a second time. What must hold: every answer of 200 is in the topic, once after
de-duplication, in its player's order, and a game that starts on the topic holds what a fold of the topic gives.
"""

import http.client
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

from kafka import KafkaConsumer, TopicPartition
from waiting import eventually

from streaming_lab.client import topics
from streaming_lab.cluster import Cluster
from streaming_lab.faults.machine import Machine
from streaming_lab.paths import SOURCE
from streaming_lab.processes import await_freeze

PARTITIONS = 3
PLAYERS = 8
GUILDS = ("owls", "foxes")
BUSY = 6.0  # seconds that the players go on
BREATH = 0.05  # seconds at most between a player's commands: a machine's two cores are for others, too
PATIENCE = 60.0  # seconds for a last request to be answered for good, when everything runs again

# What can befall whom, and what brings it back.
FAULTS: dict[str, tuple[str, str]] = {
    "broker killed": ("broker kill", "broker restart"),
    "broker paused": ("broker pause", "broker resume"),
    "game killed": ("game KILL", "game start"),
    "game stopped": ("game TERM", "game start"),
    "game paused": ("game STOP", "game CONT"),
    "both killed": ("both KILL", "both start"),
    "disk full": ("disk fill", "disk free"),
    "clock set back": ("clock -300", "clock 0"),
    "clock set ahead": ("clock 300", "clock 0"),
    "broker away while the clock is set back": ("broker kill clock -300", "broker restart"),
    "power cut": ("power cut", "game start"),
}
ON_A_MACHINE = ("clock", "power")


@dataclass(frozen=True)
class Asked:
    """One command of a player with its last answer: an HTTP status, or None where the connection ended first."""

    player: str
    number: int
    request_id: str
    event_type: str
    guild: str | None
    status: int | None
    attempts: int


class Player(threading.Thread):
    """Sends one command after the other; asks again with the same id until the answer is for good."""

    def __init__(
        self,
        name: str,
        address: Callable[[], tuple[str, int]],
        dice: random.Random,
        stop: threading.Event,
        breath: float,
    ) -> None:
        super().__init__(name=name, daemon=True)
        self.asked: list[Asked] = []
        self._address, self._dice, self._over, self._breath = address, dice, stop, breath
        self._deadline = float("inf")

    def finish(self, deadline: float) -> None:
        """The command in hand is the last one, and has until `deadline` (monotonic seconds)."""
        self._deadline = deadline

    def run(self) -> None:
        number = 0
        while not self._over.is_set():
            number += 1
            kind, guild = self._dice.choice(("purchased_sword", "sold_sword", "joined_guild", "default")), None
            path = {"purchased_sword": "purchase_a_sword", "sold_sword": "sell_a_sword", "default": ""}.get(kind)
            if path is None:
                guild = self._dice.choice(GUILDS)
                path = "join_a_guild"
            request_id = f"{self.name}-{number:05d}-{self._dice.getrandbits(64):016x}"
            status, attempts = None, 0
            while status not in (200, 409) and time.monotonic() < self._deadline:
                status = self._send(path, guild, request_id)
                attempts += 1
                if status not in (200, 409):
                    time.sleep(self._dice.uniform(0.01, 0.1))
            self.asked.append(Asked(self.name, number, request_id, kind, guild, status, attempts))
            self._over.wait(self._dice.uniform(0.0, self._breath))

    def _send(self, path: str, guild: str | None, request_id: str) -> int | None:
        query = f"?player={self.name}" + (f"&guild={guild}" if guild else "")
        hangs_up = self._dice.random() < 0.05  # a client that goes away in the middle
        try:
            connection = http.client.HTTPConnection(*self._address(), timeout=0.02 if hangs_up else 8.0)
            with closing(connection):
                connection.request("GET", f"/{path}{query}", headers={"X-Request-Id": request_id})
                answer = connection.getresponse()
                answer.read()
                return answer.status
        except (OSError, http.client.HTTPException):
            return None


class Game:
    """`python -m streaming_lab.game` on one topic: started, signalled, and started again at the same port."""

    def __init__(
        self, servers: str, topic: str, way: str, folder: Path, disk: Path | None = None, machines: Path | None = None
    ) -> None:
        self.way, self.folder = way, folder
        self.address = ("127.0.0.1", 0)
        outbox = (disk or folder) / f"{topic}.sqlite"
        self.machine = Machine(machines, outbox, folder / topic) if machines else None
        self._command = [sys.executable, "-m", "streaming_lab.game", "--exit-with-parent", "--bootstrap", servers]
        self._command += ["--topic", topic, "--way", way, "--drain", "20"]
        if way == "outbox":
            self._command += ["--outbox", str(outbox)]
        self.process: subprocess.Popen[str] | None = None

    def start(self, seconds: float = PATIENCE) -> None:
        """Start it unless it runs; returns when it said that it is ready, or tries again while the broker is away."""
        deadline = time.monotonic() + seconds
        while not self.runs and time.monotonic() < deadline:
            port = ["--port", str(self.address[1])] if self.address[1] else []
            with (self.folder / "errors").open("a") as errors:
                self.process = subprocess.Popen(
                    [*self._command, *port],
                    cwd=SOURCE,
                    env=self.machine.environment if self.machine else None,
                    text=True,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                )
            assert self.process.stdout is not None
            if line := self.process.stdout.readline():
                host, _, number = line.split()[1].removeprefix("http://").partition(":")
                self.address = (host, int(number))
                return
            self.process.wait()
            self._close_pipes()
            time.sleep(0.2)
        assert self.runs, (self.folder / "errors").read_text()[-3000:]

    @property
    def runs(self) -> bool:
        """Is there a process that has not ended?"""
        return self.process is not None and self.process.poll() is None

    def signal(self, name: str) -> None:
        """Send SIGKILL, SIGTERM, SIGSTOP or SIGCONT; an end is waited for."""
        if self.process is None:
            return
        if self.runs:
            self.process.send_signal(getattr(signal, f"SIG{name}"))
        if name == "STOP" and self.runs:
            await_freeze(self.process.pid)
        if name in ("KILL", "TERM"):
            self.process.wait(timeout=PATIENCE)
            self._close_pipes()

    def _close_pipes(self) -> None:
        assert self.process is not None
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                with suppress(OSError):
                    stream.close()


@dataclass
class Verdict:
    """What a schedule came to: the broken guarantees in words, and the figures."""

    seed: int
    faults: Sequence[str]
    answers: int = 0  # of 200
    lost: int = 0
    duplicates: int = 0
    problems: list[str] = field(default_factory=list)


def summary(verdicts: Sequence[Verdict]) -> str:
    """The figures of many schedules in a line."""
    kinds = Counter(fault.partition(" at ")[0] for one in verdicts for fault in one.faults)
    total = {name: sum(getattr(one, name) for one in verdicts) for name in ("answers", "lost", "duplicates")}
    return f"{len(verdicts)} schedules, {kinds.total()} faults {dict(kinds)}, {total}\n"


def play(
    seed: int,
    way: str,
    kafka: Cluster,
    folder: Path,
    *,
    disk: Path | None = None,
    machines: Path | None = None,
    breath: float = BREATH,
) -> Verdict:
    """One seeded schedule on a topic of its own: the players play, the faults happen, the judge reads.

    Between two commands of a player are up to `breath` seconds.
    """
    dice = random.Random(f"{seed} {way}")
    possible = [name for name in FAULTS if name != "disk full" or disk is not None]
    possible = [name for name in possible if machines or not any(word in name for word in ON_A_MACHINE)]
    moments = [dice.uniform(0.2, BUSY) for _ in range(dice.randint(3, 7))]
    plan = [(at, dice.choice(possible), dice.uniform(0.2, 1.5)) for at in sorted(moments)]
    verdict = Verdict(seed, [f"{name} at {at:.2f} s for {long:.2f} s" for at, name, long in plan])
    topic = f"harness-{seed}-{way}-{os.getpid()}"
    topics.create_topic(kafka.connection, topic, partitions=PARTITIONS)
    game = Game(",".join(kafka.connection["bootstrap_servers"]), topic, way, folder, disk, machines)
    game.start()
    over = threading.Event()
    players = [
        Player(f"p{i}", lambda: game.address, random.Random(f"{seed} {i}"), over, breath) for i in range(PLAYERS)
    ]
    try:
        began = time.monotonic()
        for player in players:
            player.start()
        for at, name, long in plan:
            time.sleep(max(0.0, began + at - time.monotonic()))
            strike, cure = FAULTS[name]
            inflict(strike, kafka, game, disk, dice)
            time.sleep(long)
            inflict(cure, kafka, game, disk, dice)
        time.sleep(max(0.0, began + BUSY - time.monotonic()))
        over.set()
        for player in players:
            player.finish(time.monotonic() + PATIENCE)
        for player in players:
            player.join(PATIENCE + 10)
        game.signal("TERM")
        game.start()
        if way != "buffered":
            eventually(lambda: not queued(game), PATIENCE)
        records = read(kafka, topic)
        judge(verdict, [asked for player in players for asked in player.asked], records, way)
        compare(verdict, game, fold(records), "restarted on its topic")
    finally:
        over.set()
        game.signal("KILL")
        for path in (disk or folder).glob(f"{topic}.sqlite*"):
            path.unlink()
        topics.delete_topics(kafka.connection, [topic])
    return verdict


def inflict(what: str, kafka: Cluster, game: Game, disk: Path | None, dice: random.Random) -> None:
    """Do one thing to the broker, the game, both, or the machine and disk that the game is on; some do a second one."""
    whom, act, *more = what.split(" ")
    if more:
        inflict(f"{whom} {act}", kafka, game, disk, dice)
        whom, act = more
    if whom == "clock" and game.machine is not None:
        game.machine.set_clock(float(act))
    if whom == "power" and game.machine is not None:
        game.signal("KILL")
        game.machine.lose_power(dice)
    if whom == "disk" and disk is not None:
        filling = disk / "filling"
        if act == "fill":
            with filling.open("wb", buffering=0) as file, suppress(OSError):  # a buffer's rest would fail at the close
                while True:
                    file.write(bytes(64 << 10))
        else:
            filling.unlink(missing_ok=True)
        return
    if whom in ("broker", "both"):
        kafka.command({"KILL": "kill", "start": "restart"}.get(act, act))
    if whom in ("game", "both"):
        game.start() if act == "start" else game.signal(act)


def queued(game: Game) -> int:
    """How many events the game says it still has in hand."""
    connection = http.client.HTTPConnection(*game.address, timeout=8)
    with closing(connection):
        connection.request("GET", "/metrics")
        lines = connection.getresponse().read().decode().splitlines()
    return sum(int(float(line.split()[-1])) for line in lines if line.startswith("game_events_queued "))


def read(kafka: Cluster, topic: str) -> list[dict[str, str]]:
    """Every record of the topic by partition and offset, through kafka-python's own consumer."""
    with KafkaConsumer(**kafka.connection, enable_auto_commit=False, auto_offset_reset="earliest") as consumer:
        wanted = [TopicPartition(topic, number) for number in range(PARTITIONS)]
        ends = consumer.end_offsets(wanted)
        consumer.assign(wanted)
        consumer.seek_to_beginning()
        found: dict[tuple[int, int], dict[str, str]] = {}
        deadline = time.monotonic() + PATIENCE
        while any(consumer.position(one) < ends[one] for one in wanted):
            assert time.monotonic() < deadline, f"{topic} was not read to its end"
            for batch in consumer.poll(500).values():
                found |= {(record.partition, record.offset): json.loads(record.value) for record in batch}
    return [found[place] for place in sorted(found)]


def judge(verdict: Verdict, asked: Sequence[Asked], records: Sequence[dict[str, str]], way: str) -> None:
    """Hold the answers against the topic; the first record of an event id counts."""
    first: dict[str, dict[str, str]] = {}
    for record in records:
        first.setdefault(record["event_id"], record)
    verdict.duplicates = len(records) - len(first)
    good = [one for one in asked if one.status == 200]
    verdict.answers = len(good)
    lost = [one for one in good if one.request_id not in first]
    verdict.lost = len(lost)
    verdict.problems += [f"lost after a 200: {one.request_id}" for one in lost]
    if verdict.duplicates and way == "confirmed":
        verdict.problems.append(f"{verdict.duplicates} records twice: {Counter(r['event_id'] for r in records)}"[:300])
    told = {one.request_id: one for one in asked}
    verdict.problems += [f"nobody asked for {event_id}" for event_id in first if event_id not in told]
    verdict.problems += [
        f"refused by the rules, and in the topic: {one.request_id}"
        for one in asked
        if one.status == 409 and one.request_id in first
    ]
    latest: dict[str, int] = {}
    for event_id, record in first.items():
        if one := told.get(event_id):
            if (record["player"], record["event_type"], record.get("guild")) != (one.player, one.event_type, one.guild):
                verdict.problems.append(f"{event_id} says {record}, asked was {one}")
            if one.number < latest.get(one.player, 0):
                verdict.problems.append(f"{one.player}: request {one.number} after {latest[one.player]}")
            latest[one.player] = one.number


def fold(records: Sequence[dict[str, str]]) -> dict[str, tuple[int, str | None]]:
    """Player -> swords and guild after the topic's distinct events."""
    world: dict[str, tuple[int, str | None]] = {f"p{i}": (0, None) for i in range(PLAYERS)}
    seen: set[str] = set()
    for record in records:
        if record["event_id"] not in seen:
            seen.add(record["event_id"])
            swords, guild = world[record["player"]]
            swords += {"purchased_sword": 1, "sold_sword": -1}.get(record["event_type"], 0)
            world[record["player"]] = swords, record.get("guild") or guild
    return world


def compare(verdict: Verdict, game: Game, world: dict[str, tuple[int, str | None]], what: str) -> None:
    """Ask the running game for each player's guild (by HEAD) and swords (sold until there are none)."""
    for player, expected in world.items():
        joined = [guild for guild in GUILDS if ask(game, "HEAD", f"/join_a_guild?player={player}&guild={guild}") == 409]
        sold = 0
        while ask(game, "GET", f"/sell_a_sword?player={player}") == 200:
            sold += 1
        if (sold, joined[0] if joined else None) != expected:
            verdict.problems.append(f"{what}, {player} has {sold} swords and is in {joined}, the topic says {expected}")


def ask(game: Game, method: str, target: str) -> int:
    """The status of one request."""
    connection = http.client.HTTPConnection(*game.address, timeout=15)
    with closing(connection):
        connection.request(method, target)
        answer = connection.getresponse()
        answer.read()
        return answer.status
