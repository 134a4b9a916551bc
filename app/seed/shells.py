"""Two shells for the assignment's steps: the tools box, as in 2019, and this machine."""

import os
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from streaming_lab.client.connection import addresses, librdkafka_settings, security_protocol_of
from streaming_lab.cluster.base import Cluster
from streaming_lab.cluster.compose.cluster import ComposeCluster
from streaming_lab.cluster.embedded.broker import is_listening
from streaming_lab.errors import LabError
from streaming_lab.paths import PROJECT, SOURCE
from streaming_lab.ports import free_ports
from streaming_lab.waiting import wait_until

COMMAND_TIMEOUT = 30.0  # seconds for one line


@dataclass(frozen=True)
class CommandResult:
    """Today's line and its output; `ran` is False if the line can't run here, and `output` then says why."""

    today: str
    output: str
    ran: bool = True


@dataclass
class FlaskProcess:
    """One `flask run`: the line as typed, the URL, and, after its end, the log."""

    line: str
    url: str
    process: "subprocess.Popen[str]"
    answers: Callable[[], bool]
    answered: bool = False
    log: str = ""

    @property
    def access_log(self) -> str:
        """The lines about requests, as the assignment shows them."""
        return "\n".join(line for line in self.log.splitlines() if '"GET /' in line)


class HostShell:
    """The steps on this machine, against any cluster."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster, self._servers = cluster, addresses(cluster.connection)
        self._ports: set[int] = set()

    @contextmanager
    def serving(self, program: str, topic: str) -> Iterator[FlaskProcess]:
        """`flask run` on a free port, with KAFKA_BOOTSTRAP_SERVERS and KAFKA_TOPIC set; the first `get` awaits it.

        Flask puts the folder where it is called before all others on the path: in the package's own no file of a
        person hides a library.
        """
        while (port := free_ports(1)[0]) in self._ports:  # of a server that has not bound it yet
            continue
        self._ports.add(port)
        module = ".".join(["streaming_lab", *Path(program).with_suffix("").parts[1:]])
        arguments = ["--app", module, "run", "--port", str(port)]
        environment = {**os.environ, "KAFKA_BOOTSTRAP_SERVERS": self._cluster.locator, "KAFKA_TOPIC": topic}
        with _process([sys.executable, "-P", "-m", "flask", *arguments], environment, SOURCE) as process:
            line, url = f"flask {' '.join(arguments)}", f"http://127.0.0.1:{port}"
            game = FlaskProcess(line, url, process, lambda: is_listening(port))
            try:
                yield game
            finally:
                process.terminate()
                game.log = process.communicate(timeout=COMMAND_TIMEOUT)[0]

    def get(self, game: FlaskProcess, path: str) -> CommandResult:
        """curl, without any proxy."""
        _wait(game)
        shown = f"curl {game.url}/{path}"
        if shutil.which("curl") is None:
            return CommandResult(shown, "there is no curl on this machine", ran=False)
        return run_command(["curl", "--silent", "--noproxy", "127.0.0.1", f"{game.url}/{path}"], shown)

    def read(self, topic: str, offset: int) -> CommandResult:
        """kcat, if it is installed; otherwise the lab's own reader."""
        line = ["kcat", *_consume(self._servers, topic, offset)]
        if shutil.which("kcat") is None:
            own = [topic, "--values", "text", "--columns", "value", "--from", str(offset), "--cluster"]
            program = ["scripts/topic.py", "read", *own, self._cluster.locator]
            return run_command([sys.executable, *program], " ".join(["python3", *program]))
        if security_protocol_of(self._cluster.connection) == "PLAINTEXT":
            return run_command(line, " ".join(line))
        with tempfile.TemporaryDirectory(prefix="lab-kcat-") as folder:  # its owner's alone, as mkdtemp makes folders
            config = Path(folder, "kcat.conf")
            settings = librdkafka_settings(self._cluster.connection)
            config.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
            return run_command(["kcat", "-F", str(config), *line[1:]], " ".join(["kcat -F kcat.conf", *line[1:]]))


class ToolsContainer:
    """The steps in the tools box of a compose cluster."""

    def __init__(self, cluster: ComposeCluster) -> None:
        self._cluster = cluster

    @contextmanager
    def serving(self, program: str, topic: str) -> Iterator[FlaskProcess]:
        """`flask run` in the box, on its port 5000; the first `get` awaits it."""
        token = uuid.uuid4().hex  # finds the server again: it outlives `docker compose exec`
        line = ["lab", "env", f"FLASK_APP={program}", "flask", "run"]
        command = self._command("--env", f"LAB_MARK={token}", "--env", f"KAFKA_TOPIC={topic}", *line)
        with _process(command, self._cluster.project.environment) as process:
            typed, url = as_typed(self._cluster, f"exec {' '.join(line)}"), "http://localhost:5000"
            game = FlaskProcess(typed, url, process, self._answers)
            try:
                yield game
            finally:
                self._exec("python", "-c", _STOP, token)
                game.log = process.communicate(timeout=COMMAND_TIMEOUT)[0]

    def get(self, game: FlaskProcess, path: str) -> CommandResult:
        """curl, as in 2019."""
        _wait(game)
        url = f"{game.url}/{path}"
        return run_command(
            self._command("lab", "curl", "--silent", url), as_typed(self._cluster, f"exec lab curl {url}")
        )

    def read(self, topic: str, offset: int) -> CommandResult:
        """kcat, which was kafkacat in 2019."""
        line = " ".join(["kcat", *_consume("kafka:29092", topic, offset)])
        return run_command(
            self._command("lab", "bash", "-c", line), as_typed(self._cluster, f'exec lab bash -c "{line}"')
        )

    def _answers(self) -> bool:
        probe = "import socket; socket.create_connection(('127.0.0.1', 5000), 1).close()"
        return self._exec("python", "-c", probe).returncode == 0

    def _exec(self, *line: str) -> "subprocess.CompletedProcess[str]":
        return _done(self._command("lab", *line))

    def _command(self, *line: str) -> list[str]:
        return self._cluster.project.command("exec", "-T", *line)


# Runs in the box, in a process without the variable.
_STOP = """
import psutil, sys
for process in psutil.process_iter():
    try:
        if process.environ().get("LAB_MARK") == sys.argv[1]:
            process.terminate()
    except psutil.Error:
        pass
"""


def as_typed(cluster: ComposeCluster, rest: str) -> str:
    """A docker compose line as typed in the project's folder."""
    file = cluster.project.file.relative_to(PROJECT).as_posix()
    return f"docker compose {'' if file == 'docker-compose.yml' else f'-f {file} '}{rest}"


def run_command(command: Sequence[str], shown: str, environment: Mapping[str, str] | None = None) -> CommandResult:
    """Run a line and keep its output; standard error only if there is no other output."""
    done = _done(command, environment)
    return CommandResult(shown, done.stdout.strip() or done.stderr.strip() or "(no output)")


def _done(command: Sequence[str], environment: Mapping[str, str] | None = None) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command,
        cwd=PROJECT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=COMMAND_TIMEOUT,
        stdin=subprocess.DEVNULL,
    )


def _consume(servers: str, topic: str, offset: int) -> list[str]:
    """kcat's arguments: the assignment's `beginning` on a new topic, the given offset on a used one."""
    return ["-C", "-b", servers, "-t", topic, "-o", str(offset) if offset else "beginning", "-e"]


@contextmanager
def _process(
    command: Sequence[str], environment: Mapping[str, str] | None, folder: Path = PROJECT
) -> Iterator["subprocess.Popen[str]"]:
    """A server as a child process with one output stream; killed at the end in any case."""
    with subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        text=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def _wait(game: FlaskProcess) -> None:
    """Wait until the game has answered once; raises with its last lines when it ended or is silent for 30 s."""

    def silent() -> LabError:
        game.process.kill()
        words = game.process.communicate()[0].split("\n")
        return LabError(f"`{game.line}` does not answer: {' / '.join(words[-3:])}", "Run the line by hand.")

    def answers() -> bool:
        if game.answered or game.answers():
            game.answered = True
            return True
        if game.process.poll() is not None:
            raise silent()
        return False

    wait_until(answers, COMMAND_TIMEOUT, silent)
