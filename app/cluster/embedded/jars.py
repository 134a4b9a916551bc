"""Kafka's jars: named in a committed lock, fetched from Maven by jgo, checked by sha256, kept in the lab's cache.

python -m streaming_lab.cluster.embedded.jars lock     resolve jgo.toml again and rewrite jgo.lock.toml
"""

import contextlib
import hashlib
import json
import logging
import os
import sys
import tempfile
import tomllib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from streaming_lab.cluster.base import ClusterError
from streaming_lab.paths import cache_folder

LOCK = Path(__file__).with_name("jgo.lock.toml")
SPEC = Path(__file__).with_name("jgo.toml")
MEGABYTES = 43  # all jars, in units of 2^20 bytes; a test compares
AT_ONCE = 8  # downloads side by side: a first run from nothing takes seconds

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Jar:
    """One locked artifact of Maven Central."""

    group: str
    artifact: str
    version: str
    sha256: str

    @property
    def file_name(self) -> str:
        """The file's name in a Maven repository."""
        return f"{self.artifact}-{self.version}.jar"


def locked() -> tuple[Jar, ...]:
    """The lock's jars, in the order of the class path."""
    dependencies = tomllib.loads(LOCK.read_text(encoding="utf-8"))["dependencies"]
    return tuple(Jar(d["groupId"], d["artifactId"], d["version"], d["sha256"]) for d in dependencies)


def class_path(folder: Path | None = None) -> list[Path]:
    """All jars, verified; missing ones are fetched first.

    Hashing 43 MB takes a tenth of a second and more, so `verified.json` keeps each jar's size and modification time,
    and only a jar that differs in them is hashed again. Raises `ClusterError` without a network or on a wrong checksum.
    """
    folder = folder or cache_folder() / "jars"
    jars, stamps = locked(), _stamps(folder)
    fresh = {jar.file_name: _stamp(folder / jar.file_name, jar) for jar in jars}
    doubtful = [
        jar for jar in jars if fresh[jar.file_name] is None or stamps.get(jar.file_name) != fresh[jar.file_name]
    ]
    missing = [jar for jar in doubtful if not _matches(folder / jar.file_name, jar)]
    if missing:
        _fetch(missing, folder)
    if doubtful:
        stamps = {jar.file_name: _stamp(folder / jar.file_name, jar) for jar in jars}
        with contextlib.suppress(OSError):  # a shared cache may be read-only; each start verifies it then
            _replace(folder / "verified.json", json.dumps(stamps).encode())
    return [folder / jar.file_name for jar in jars]


def kafka_version() -> str:
    """Kafka's version in the lock."""
    return next(jar.version for jar in locked() if jar.artifact == "kafka_2.13")


def megabytes(folder: Path) -> float:
    """The size of the jars in a folder, with those that are on their way, in units of 2^20 bytes."""
    size = 0
    for file in folder.rglob("*.jar*"):
        with contextlib.suppress(OSError):  # moved meanwhile, to where it belongs
            size += file.stat().st_size
    return size / (1 << 20)


def _stamps(folder: Path) -> dict[str, object]:
    try:
        stamps = json.loads((folder / "verified.json").read_bytes())
    except (OSError, ValueError):
        return {}
    return stamps if isinstance(stamps, dict) else {}


def _stamp(file: Path, jar: Jar) -> list[object] | None:
    try:
        status = file.stat()
    except OSError:
        return None
    return [jar.sha256, status.st_size, status.st_mtime_ns]


def _matches(file: Path, jar: Jar) -> bool:
    try:
        with file.open("rb") as content:
            return hashlib.file_digest(content, "sha256").hexdigest() == jar.sha256
    except OSError:
        return False


def _fetch(missing: list[Jar], folder: Path) -> None:
    from jgo.config import GlobalSettings  # here: the import takes 0.2 s
    from jgo.constants import MAVEN_CENTRAL_URL
    from jgo.maven import MavenContext

    logger.info("fetching %s jars of Kafka %s from Maven", len(missing), kafka_version())
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix="fetch-") as staging:
        # jgo writes under the final name while it downloads; a separate folder makes an interrupted download harmless
        maven = MavenContext(
            repo_cache=Path(staging), remote_repos={**GlobalSettings.load().repositories, "central": MAVEN_CENTRAL_URL}
        )

        def fetch(jar: Jar) -> None:
            try:
                file = maven.project(jar.group, jar.artifact).at_version(jar.version).artifact().resolve()
            except Exception as error:  # requests' errors, urllib3's, and jgo's own RuntimeError
                raise ClusterError(
                    f"cannot fetch {jar.file_name} from Maven: {_last_line(error)}",
                    f"The first start needs the network ({MEGABYTES} MB, once). Behind a proxy set HTTPS_PROXY; "
                    "a Maven mirror goes into ~/.config/jgo.conf under [repositories].",
                ) from error
            if not _matches(file, jar):
                raise ClusterError(
                    f"{jar.file_name} from Maven does not have the locked sha256 {jar.sha256}",
                    "A proxy or a mirror before Maven Central changed it: try another network, or another mirror.",
                )
            os.replace(file, folder / jar.file_name)

        with ThreadPoolExecutor(AT_ONCE) as pool:
            jobs = [pool.submit(fetch, jar) for jar in missing]
            try:
                for job in jobs:
                    job.result()
            finally:
                pool.shutdown(cancel_futures=True)


def _last_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[-1][:300]


def _replace(file: Path, content: bytes) -> None:
    temporary = file.with_suffix(f".{os.getpid()}.tmp")
    temporary.write_bytes(content)
    os.replace(temporary, file)


def lock_jars() -> None:
    """Resolve `jgo.toml` and rewrite the lock, for a new version of Kafka. Needs the network."""
    from jgo.constants import MAVEN_CENTRAL_URL
    from jgo.env import EnvironmentBuilder, EnvironmentSpec
    from jgo.maven import MavenContext

    with tempfile.TemporaryDirectory() as staging:
        maven = MavenContext(repo_cache=Path(staging), remote_repos={"central": MAVEN_CENTRAL_URL})
        EnvironmentBuilder(context=maven).resolve_lockfile(EnvironmentSpec.load(SPEC)).save(LOCK)


if __name__ == "__main__" and sys.argv[1:] == ["lock"]:
    lock_jars()
