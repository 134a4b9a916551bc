"""The house keeps its walls: imports go one way between packages and modules, and nothing happens at import."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from streaming_lab.delivery.ways import WAYS

PROJECT = Path(__file__).resolve().parent.parent
APP = PROJECT / "app"
NAME = "streaming_lab"
FOUNDATION = {
    "",
    "errors",
    "paths",
    "settings",
    "cli",
    "clean",
    "waiting",
    "child",
    "ports",
    "processes",
    "skipped_imports",
    "wording",
}  # "": the version
LONGEST = 320  # lines of a module

# Which packages a package may use; a dotted name opens or closes one module.
MAY_IMPORT = {
    "client": set(),
    "delivery": {"client"},
    "reader": {"client"},
    "cluster": {"client"},
    "cluster.cli": {"client", "cluster", "reader.decode.native"},  # `status` says which decoder reads here
    "slices": {"client", "reader"},
    "topic": {"client", "reader", "cluster"},
    "game": {"client", "delivery", "reader", "cluster"},
    "game.rules": {"game.events"},
    "game.events": set(),
    "analysis": {"client", "reader", "game"},
    "seed": {"client", "cluster", "analysis"},
    "faults": {"client", "delivery", "reader", "cluster", "game", "analysis"},
    "scaling": {"client", "reader", "slices", "cluster", "game", "analysis"},
    "own_game": {"client", "reader", "cluster", "game", "analysis", "faults"},
    "doctor": {"client", "cluster"},
    "report": {"client", "delivery", "reader", "cluster", "game", "analysis", "own_game"},
    "handin": {"client", "delivery", "reader", "cluster", "game", "analysis", "faults", "scaling", "report"},
}


@cache
def modules() -> tuple[str, ...]:
    """Dotted names below `app/`, as in `reader.arrow`."""
    found = [".".join(path.relative_to(APP).with_suffix("").parts) for path in sorted(APP.rglob("*.py"))]
    return tuple(name.removesuffix(".__init__") for name in found if name != "__init__")


def path_of(module: str) -> Path:
    path = APP.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


@cache
def imported(module: str) -> frozenset[str]:
    """Dotted names below `app/` that a module imports, at its top or later."""
    return frozenset(_imported(module)) - {module}


def _imported(module: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(path_of(module).read_text(encoding="utf8"))):
        if isinstance(node, ast.Import):
            yield from (one.name.removeprefix(f"{NAME}.") for one in node.names if one.name.startswith(f"{NAME}."))
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == NAME:
            base = (node.module or "").removeprefix(NAME).lstrip(".")
            for one in node.names:
                inner = f"{base}.{one.name}".lstrip(".")
                yield inner if inner in modules() else base


def allowed(module: str, other: str) -> bool:
    room = module.split(".")[0]
    rules = MAY_IMPORT[module] if module in MAY_IMPORT and "." in module else MAY_IMPORT.get(room, set()) | {room}
    return any(other == rule or other.startswith(rule + ".") for rule in rules | FOUNDATION)


@pytest.mark.parametrize("module", [name for name in modules() if name not in FOUNDATION])
def test_imports_go_one_way_between_packages(module: str) -> None:
    """A package uses only the packages that the plan opens to it."""
    assert [other for other in sorted(imported(module)) if not allowed(module, other)] == []


def test_every_package_has_its_place_in_the_plan() -> None:
    """A new package is put into the order of imports when it is made."""
    assert {name.split(".")[0] for name in modules()} - FOUNDATION == {name for name in MAY_IMPORT if "." not in name}


def test_no_module_imports_itself_by_a_detour() -> None:
    """Taking away, again and again, the modules whose imports are all gone leaves none: there is no cycle."""
    left = {module: {other for other in imported(module) if other in modules()} for module in modules()}
    while free := {module for module, others in left.items() if not others & left.keys()}:
        left = {module: others for module, others in left.items() if module not in free}
    assert sorted(left) == []


def test_no_module_is_too_long_for_one_thought() -> None:
    """A Python module of the app or of a script has at most 320 lines."""
    files = [*APP.rglob("*.py"), *(PROJECT / "scripts").rglob("*.py")]
    lines = {str(file.relative_to(PROJECT)): len(file.read_text(encoding="utf8").splitlines()) for file in files}
    assert {name: count for name, count in lines.items() if count > LONGEST} == {}


def test_nobody_asks_for_a_way_to_deliver_by_its_name() -> None:
    """What differs from way to way is an attribute of its class, so that a new way is a module and a row."""
    asked = re.compile(rf'(?:[!=]=|\bin) *\(?"(?:{"|".join(WAYS)})"')
    sources = [path for folder in (APP, PROJECT / "scripts") for path in folder.rglob("*.py")]
    found = [path.name for path in sources if asked.search(path.read_text(encoding="utf8"))]
    assert found == ["ways.py"]


def test_a_public_name_is_not_made_twice() -> None:
    """A public name stands for one thing in the whole app; `main` and `logger` are what they are everywhere."""
    homes: dict[str, list[str]] = {}
    for module in modules():
        if not module.startswith("seed.game_api"):  # the assignment's own programs, as they were
            for name in public_names(module) - {"main", "logger"}:
                homes.setdefault(name, []).append(module)
    assert {name: found for name, found in homes.items() if len(found) > 1} == {}


def public_names(module: str) -> set[str]:
    """What a module defines at its top, other than by importing it."""
    found = set()
    for node in ast.parse(path_of(module).read_text(encoding="utf8")).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            found.add(node.name)
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {one.id for target in targets for one in ast.walk(target) if isinstance(one, ast.Name)}
    return {name for name in found if not name.startswith("_")}


@pytest.mark.parametrize("module", ["game.rules", "game.events"])
def test_the_heart_of_the_game_needs_only_the_standard_library(module: str) -> None:
    """Rules and events know no web, no Kafka, no pandas."""
    outside = "{m.split('.')[0] for m in sys.modules} - set(sys.stdlib_module_names)"
    assert run(f"bare = {outside}; import {NAME}.{module}; print({outside} - bare)") == f"{{'{NAME}'}}\n"


@pytest.mark.parametrize("name", ["read_batches", "Schema"])
def test_a_reader_of_batches_loads_no_pandas(name: str) -> None:
    """The reader's face is lazy: who walks a topic in Arrow batches does not pay for pandas."""
    assert run(f"from {NAME}.reader import {name}; print('pyarrow' in sys.modules, 'pandas' in sys.modules)") == (
        "True False\n"
    )


def test_a_game_reads_its_past_without_pandas() -> None:
    """All that a game process imports, also to rebuild its world, finds pandas nowhere: a start takes half the time."""
    program = """
from streaming_lab.skipped_imports import skip_pandas
skip_pandas()
import streaming_lab.game.__main__, streaming_lab.game.history
print('pyarrow' in sys.modules, 'pandas' in sys.modules)
"""
    assert run(program) == "True False\n"


def test_a_reader_waits_for_none_of_kafka_pythons_clients() -> None:
    """`read_topic` imports protocol classes alone; who asks kafka-python for a client gets it, and so do threads.

    Nor for messages that a reader does not send: their package runs them all when somebody asks it for one.
    """
    group = "'kafka.protocol.consumer.group' in sys.modules"
    asks = "from kafka.protocol.consumer import JoinGroupRequest"
    assert run(f"from {NAME}.reader import read_topic; print({group})\n{asks}; print({group})") == "False\nTrue\n"
    clients = "[name in sys.modules for name in ('kafka.admin', 'kafka.consumer', 'kafka.producer', 'crc32c')]"
    assert run(f"from {NAME}.reader import read_topic; print({clients})") == f"{[False] * 4}\n"
    asked = f"""
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
import {NAME}.client, sys
before = {clients}[:3]
import kafka
names = ["KafkaProducer", "KafkaConsumer", "KafkaAdminClient", "TopicPartition", "__version__"] * 4
with ThreadPoolExecutor(20) as pool:
    found = list(pool.map(lambda name: getattr(kafka, name), names))
print(before, all(found), type(kafka).__name__, hasattr(kafka, "nothing"), import_module("kafka") is kafka)
"""
    assert run(asked) == "[False, False, False] True module False True\n"
    assert (
        run(f"import kafka, {NAME}.client; print(type(kafka).__name__, bool(kafka.KafkaProducer))") == "module True\n"
    )


def run(program: str) -> str:
    """What a fresh, isolated Python that finds the project prints; `sys` is imported."""
    start = f"import sys; sys.path.insert(0, {str(PROJECT / 'src')!r})"
    ran = subprocess.run(
        [sys.executable, "-IWignore", "-c", f"{start}\n{program}"], capture_output=True, text=True, timeout=120
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


@pytest.mark.slow
def test_nothing_happens_at_import() -> None:
    """Importing every module opens no socket, starts no thread or process, and writes no file."""
    program = f"""
import importlib, threading
import requests.adapters  # urllib3 tries at its import whether this machine speaks IPv6
seen = []
WATCHED = {{"socket.connect", "socket.bind", "subprocess.Popen", "os.fork", "os.posix_spawn"}}
sys.addaudithook(lambda event, args: seen.append((event, str(args)[:80])) if event in WATCHED else None)
for name in {modules()!r}:
    if not name.endswith("__main__"):
        importlib.import_module("streaming_lab." + name)
print(seen, [t.name for t in threading.enumerate() if t is not threading.main_thread()])
"""
    assert run(program) == "[] []\n"
