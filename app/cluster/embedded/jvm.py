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
    """One ahead-of-time cache file with a stamp beside it; a file that differs from its stamp is not used.

    The JVM maps the file as code and checks no hash, so each start holds it against the SHA-256 in its stamp: 66 MB
    take 0.05 s of CPU (0.2 s on a CPU without SHA instructions), which pass while the supervisor's Python starts.
    """

    file: Path
    digest: str = ""  # the file's SHA-256, if the process that starts this cluster has just computed it

    @classmethod
    def of(cls, jvm: Jvm, folder: Path, digest: str = "") -> "StartCache":
        """The cache of this JVM; the file may not exist yet."""
        return cls(folder / f"{jvm.profile}-{jvm.key()}.aot", digest)

    @property
    def stamp(self) -> Path:
        """The file with size, modification time and SHA-256 after the training."""
        return self.file.with_suffix(".json")

    def usable(self) -> bool:
        """Whether the file is there, and has the content that was trained."""
        try:
            return bool(
                json.loads(self.stamp.read_bytes()) == [*self._signature(), self.digest or hash_file(self.file)]
            )
        except (OSError, ValueError, RecursionError):
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
            digest = hash_file(trained)
            _share(trained)
            os.replace(trained, self.file)
            _write(self.stamp, json.dumps([*self._signature(), digest]).encode())
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


def hash_file(file: Path) -> str:
    """The SHA-256 of a file's content; empty when it cannot be read."""
    try:
        with file.open("rb") as content:
            return hashlib.file_digest(content, "sha256").hexdigest()
    except OSError:
        return ""


def _write(file: Path, content: bytes) -> None:
    """Replaces a file of the cache atomically; leaves no temporary one when that fails."""
    temporary = file.with_suffix(f".{os.getpid()}.tmp")
    try:
        temporary.write_bytes(content)
        _share(temporary)
        os.replace(temporary, file)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def _share(file: Path) -> None:
    """Lets those read a file who can read its folder: the cache may be shared, while a supervisor's umask is 077."""
    file.chmod(0o600 | (file.parent.stat().st_mode & 0o044))


# `kafka.tools.StorageTool format` leaves two files: `meta.properties` (cluster, node and directory id; version 1,
# KIP-858) and the first snapshot of the metadata log, which holds the feature levels and depends on Kafka's version
# alone. A copy of the snapshot and new ids format a folder without a JVM.
META_FILE = "meta.properties"
SNAPSHOT = "__cluster_metadata-0/00000000000000000000-0000000000.checkpoint"


@dataclass(frozen=True)
class FormatCache:
    """The snapshot that Kafka's StorageTool wrote, kept for one set of jars, with its SHA-256 in a file beside it."""

    file: Path

    @classmethod
    def of(cls, jars: tuple[str, ...], folder: Path) -> "FormatCache":
        """The snapshot for these jars; the file may not exist yet."""
        names = "\0".join(Path(jar).name for jar in jars)
        return cls(folder / f"format-{hashlib.sha256(names.encode()).hexdigest()[:16]}.checkpoint")

    @property
    def stamp(self) -> Path:
        """The SHA-256 of the snapshot."""
        return self.file.with_suffix(".sha256")

    def apply(self, data: Path, cluster_id: str, node: int) -> bool:
        """Format `data`; False without a kept snapshot."""
        snapshot = data / SNAPSHOT
        try:
            content = self.file.read_bytes()
            if hashlib.sha256(content).hexdigest() != self.stamp.read_text(encoding="ascii"):
                return False
            snapshot.parent.mkdir(parents=True, exist_ok=True)
            snapshot.write_bytes(content)
            ids = {"cluster.id": cluster_id, "directory.id": new_cluster_id(), "node.id": node, "version": 1}
            (data / META_FILE).write_text("".join(f"{name}={value}\n" for name, value in ids.items()))
        except (OSError, ValueError):
            shutil.rmtree(data, ignore_errors=True)
            return False
        return True

    def keep(self, data: Path) -> None:
        """Copy the snapshot of a folder that the tool has just formatted, unless the folder holds unexpected files."""
        if {file.relative_to(data).as_posix() for file in data.rglob("*") if file.is_file()} != {META_FILE, SNAPSHOT}:
            return
        with contextlib.suppress(OSError):
            self.file.parent.mkdir(parents=True, exist_ok=True)
            content = (data / SNAPSHOT).read_bytes()
            _write(self.file, content)
            _write(self.stamp, hashlib.sha256(content).hexdigest().encode())


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
