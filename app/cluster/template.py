"""Formatting without a JVM: what Kafka's own StorageTool wrote once, given a new cluster id.

`kafka.tools.StorageTool format` leaves two files: `meta.properties` (cluster, node and directory id; version 1,
KIP-858) and the first snapshot of the metadata log, which holds the feature levels and depends on Kafka's version
alone. The snapshot is kept; the ids are new each time. Anything else in a formatted folder, and the tool is asked
again.
"""

import base64
import hashlib
import os
import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path

META = "meta.properties"
SNAPSHOT = "__cluster_metadata-0/00000000000000000000-0000000000.checkpoint"


@dataclass(frozen=True)
class Template:
    """A kept snapshot, for one set of jars."""

    file: Path

    @classmethod
    def of(cls, jars: tuple[str, ...], folder: Path) -> "Template":
        """The template for these jars, which may not exist yet."""
        names = "\0".join(Path(jar).name for jar in jars)
        return cls(folder / f"format-{hashlib.sha256(names.encode()).hexdigest()[:16]}.checkpoint")

    def apply(self, data: Path, cluster_id: str, node: int) -> bool:
        """Format `data`; False where there is no template."""
        snapshot = data / SNAPSHOT
        try:
            snapshot.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(self.file, snapshot)
            ids = {"cluster.id": cluster_id, "directory.id": new_id(), "node.id": node, "version": 1}
            (data / META).write_text("".join(f"{name}={value}\n" for name, value in ids.items()))
        except OSError:
            shutil.rmtree(data, ignore_errors=True)
            return False
        return True

    def keep(self, data: Path) -> None:
        """Learn from a folder that the tool has just formatted; an unexpected one teaches nothing."""
        if {file.relative_to(data).as_posix() for file in data.rglob("*") if file.is_file()} != {META, SNAPSHOT}:
            return
        temporary = self.file.with_suffix(f".{os.getpid()}.tmp")
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(data / SNAPSHOT, temporary)
            os.replace(temporary, self.file)
        except OSError:
            temporary.unlink(missing_ok=True)


def new_id() -> str:
    """A fresh Kafka Uuid: 16 bytes in URL-safe base64, without a leading dash (an option to a command line)."""
    while (text := base64.urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()).startswith("-"):
        continue
    return text
