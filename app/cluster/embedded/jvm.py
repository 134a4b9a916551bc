"""A Kafka JVM: flags for two purposes, and the ahead-of-time cache that makes it start fast (JEP 483, 514)."""

import base64
import contextlib
import hashlib
import json
import os
import re
import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path

from streaming_lab.cluster.embedded.places import relative_class_path, relative_option

# One compiler tier and a simple collector start fastest and are enough for lessons; a benchmark wants the whole JIT.
PROFILES = {
    "lesson": ("-Xmx256m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"),
    "throughput": ("-Xms1g", "-Xmx1g", "-XX:+UseParallelGC"),
}
ALWAYS = (
    "-XX:-UsePerfData",  # no files in the system's /tmp
    "-XX:+ExitOnOutOfMemoryError",  # a broker without memory ends with a message
    "-Xlog:disable",  # no warnings about an unusable start-up cache, which only costs speed
    "-Xlog:all=error:stderr",
    "-Djava.awt.headless=true",
    "-Djava.net.preferIPv4Stack=true",  # the brokers listen at 127.0.0.1 only
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd HH:mm:ss,SSS",
    "-Dorg.slf4j.simpleLogger.showThreadName=false",
)

# Relative to the folder in which the JVM runs. With a hosts file of its own the JVM does not ask a name server for the
# name of this machine: one that does not answer costs half a minute. The JVM then resolves no other name: right for
# brokers that listen at 127.0.0.1, wrong where a listener or a token server has a name.
HOSTS = "hosts"
IN_FOLDER = ("-Djava.io.tmpdir=tmp", "-XX:ErrorFile=tmp/crash-%p.log", f"-Djdk.net.hosts.file={HOSTS}")


@dataclass(frozen=True)
class Jvm:
    """A Java, a class path and a profile: all that a start-up cache depends on."""

    java: str
    jars: tuple[str, ...]
    profile: str
    heap: str = ""  # for example 64m; instead of the profile's

    @property
    def flags(self) -> tuple[str, ...]:
        """The profile's flags, with another heap if one is set."""
        flags: tuple[str, ...] = PROFILES[self.profile]
        if self.heap:
            flags = (*(flag for flag in flags if not flag.startswith(("-Xmx", "-Xms"))), f"-Xmx{self.heap}")
        return (*flags, *ALWAYS)

    def command(self, folder: Path, *more: str) -> list[str]:
        """The command line up to the main class, to be run in `folder`; the JVM leaves files in its `tmp` only."""
        options = (relative_option(folder, option) for option in more)
        return [self.java, *self.flags, *IN_FOLDER, *options, "-cp", relative_class_path(folder, self.jars)]

    def key(self) -> str:
        """A hash of JDK, jars (names carry versions, and the lock is verified), their order, and flags."""
        release = Path(self.java).parent.parent / "release"
        parts = [release.read_text() if release.exists() else "", self.java, *self.jars, *self.flags, *IN_FOLDER]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class StartCache:
    """One ahead-of-time cache file with a stamp beside it; a file that differs from its stamp is not used."""

    file: Path

    @classmethod
    def of(cls, jvm: Jvm, folder: Path) -> "StartCache":
        """The cache of this JVM; the file may not exist yet."""
        return cls(folder / f"{jvm.profile}-{jvm.key()}.aot")

    @property
    def stamp(self) -> Path:
        """The file with size and modification time after the training: the JVM maps the cache without a check."""
        return self.file.with_suffix(".json")

    def usable(self) -> bool:
        """Does the cache exist, unchanged since its training?"""
        try:
            return bool(json.loads(self.stamp.read_bytes()) == self._signature())
        except (OSError, ValueError):
            return False

    def temporary(self) -> Path:
        """The file that a training run of this process writes."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        return self.file.with_suffix(f".{os.getpid()}.part")

    def accept(self, trained: Path) -> bool:
        """Put a trained file into its place; False when the JVM wrote none."""
        try:
            if trained.stat().st_size == 0:
                return False
            os.replace(trained, self.file)
            stamp = self.stamp.with_suffix(f".{os.getpid()}.tmp")
            stamp.write_text(json.dumps(self._signature()))
            os.replace(stamp, self.stamp)
        except OSError:
            return False
        return True

    def discard(self) -> None:
        """Delete a cache that did not serve; the next clean stop trains a new one."""
        for file in (self.stamp, self.file):
            try:
                file.unlink(missing_ok=True)
            except OSError:
                return

    def _signature(self) -> list[int]:
        status = self.file.stat()
        return [status.st_size, status.st_mtime_ns]


# `kafka.tools.StorageTool format` leaves two files: `meta.properties` (cluster, node and directory id; version 1,
# KIP-858) and the first snapshot of the metadata log, which holds the feature levels and depends on Kafka's version
# alone. A copy of the snapshot and new ids format a folder without a JVM.
META_FILE = "meta.properties"
SNAPSHOT = "__cluster_metadata-0/00000000000000000000-0000000000.checkpoint"


@dataclass(frozen=True)
class FormatCache:
    """The snapshot that Kafka's StorageTool wrote, kept for one set of jars."""

    file: Path

    @classmethod
    def of(cls, jars: tuple[str, ...], folder: Path) -> "FormatCache":
        """The snapshot for these jars; the file may not exist yet."""
        names = "\0".join(Path(jar).name for jar in jars)
        return cls(folder / f"format-{hashlib.sha256(names.encode()).hexdigest()[:16]}.checkpoint")

    def apply(self, data: Path, cluster_id: str, node: int) -> bool:
        """Format `data`; False without a kept snapshot."""
        snapshot = data / SNAPSHOT
        try:
            snapshot.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(self.file, snapshot)
            ids = {"cluster.id": cluster_id, "directory.id": new_cluster_id(), "node.id": node, "version": 1}
            (data / META_FILE).write_text("".join(f"{name}={value}\n" for name, value in ids.items()))
        except OSError:
            shutil.rmtree(data, ignore_errors=True)
            return False
        return True

    def keep(self, data: Path) -> None:
        """Copy the snapshot of a folder that the tool has just formatted, unless the folder holds unexpected files."""
        if {file.relative_to(data).as_posix() for file in data.rglob("*") if file.is_file()} != {META_FILE, SNAPSHOT}:
            return
        temporary = self.file.with_suffix(f".{os.getpid()}.tmp")
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(data / SNAPSHOT, temporary)
            os.replace(temporary, self.file)
        except OSError:
            temporary.unlink(missing_ok=True)


def read_cluster_id(data: Path) -> str | None:
    """The cluster id of a formatted data folder; None for a folder that is not formatted."""
    with contextlib.suppress(OSError):
        found = re.search(r"^cluster\.id=(\S+)$", (data / META_FILE).read_text(errors="replace"), re.MULTILINE)
        return found[1] if found else None
    return None


def new_cluster_id() -> str:
    """A new Kafka Uuid: 16 bytes in URL-safe base64, without a leading dash, which would look like an option."""
    while (text := base64.urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()).startswith("-"):
        continue
    return text
