"""The house keeps its walls: imports go one way, and nothing happens at import."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from streaming_lab.delivery.ways import WAYS

APP = Path(__file__).resolve().parent.parent / "app"
FOUNDATION = {"", "errors", "settings", "home", "cli", "clean", "skipped_imports", "waiting", "ports"}

# Which rooms a room may use; a dotted name opens one module only.
MAY_IMPORT = {
    "game": {"stream", "cluster"},
    "game.rules": {"game.events"},
    "game.events": set(),
    "seed": {"cluster", "stream"},
    "stream": set(),
    "cluster": {"stream"},
    "analysis": {"cluster", "stream", "game"},
    "faults": {"analysis", "cluster", "stream", "game"},
    "report": {"analysis", "cluster", "stream", "game"},
}


def modules() -> list[str]:
    """Dotted names below `app`, as in `stream.reader`."""
    found = [".".join(path.relative_to(APP).with_suffix("").parts) for path in sorted(APP.rglob("*.py"))]
    return [name.removesuffix(".__init__") for name in found if name != "__init__"]


def path_of(module: str) -> Path:
    path = APP.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def imported(module: str) -> Iterator[str]:
    """Dotted names below `app` that a module imports, at its top or later."""
    for node in ast.walk(ast.parse(path_of(module).read_text(encoding="utf8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.removeprefix("app.") for alias in node.names if alias.name.startswith("app."))
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "app":
            base = (node.module or "").removeprefix("app").lstrip(".")
            for alias in node.names:
                inner = f"{base}.{alias.name}".lstrip(".")
                yield inner if path_of(inner).exists() else base


def allowed(module: str, other: str) -> bool:
    room = module.split(".")[0]
    rules = MAY_IMPORT[module] if "." in module and module in MAY_IMPORT else MAY_IMPORT.get(room, set()) | {room}
    return any(other == rule or other.startswith(rule + ".") for rule in rules | FOUNDATION)


@pytest.mark.parametrize("module", [name for name in modules() if name not in FOUNDATION])
def test_imports_go_one_way(module: str) -> None:
    """A room uses only the rooms that the plan opens to it."""
    assert [other for other in imported(module) if not allowed(module, other)] == []


def test_nobody_asks_for_a_way_to_deliver_by_its_name() -> None:
    """What differs from way to way is an attribute of its class, so that a new way is a module and a row."""
    asked = re.compile(rf'(?:[!=]=|\bin) *\(?"(?:{"|".join(WAYS)})"')
    sources = [path for folder in (APP, APP.parent / "scripts") for path in folder.rglob("*.py")]
    found = [path.name for path in sources if asked.search(path.read_text(encoding="utf8"))]
    assert found == ["ways.py"]


@pytest.mark.parametrize("module", ["game.rules", "game.events"])
def test_the_heart_of_the_game_needs_only_the_standard_library(module: str) -> None:
    """Rules and events know no web, no Kafka, no pandas."""
    outside = "{m.split('.')[0] for m in sys.modules} - set(sys.stdlib_module_names)"
    assert run(f"bare = {outside}; import app.{module}; print({outside} - bare)") == "{'app'}\n"


def test_a_game_reads_its_past_without_pandas() -> None:
    """All that a game process imports, also to rebuild its world, finds pandas nowhere: a start takes half the time."""
    program = """
from streaming_lab.skipped_imports import skip_pandas
skip_pandas()
import streaming_lab.game.__main__, streaming_lab.game.history
print('pyarrow' in sys.modules, 'pandas' in sys.modules)
"""
    assert run(program) == "True False\n"


def run(program: str) -> str:
    """What a fresh, isolated Python that finds the project prints; `sys` is imported."""
    start = f"import sys; sys.path.insert(0, {str(APP.parent)!r})"
    ran = subprocess.run(
        [sys.executable, "-IWignore", "-c", f"{start}\n{program}"], capture_output=True, text=True, timeout=120
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


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
        importlib.import_module("app." + name)
print(seen, [t.name for t in threading.enumerate() if t is not threading.main_thread()])
"""
    assert run(program) == "[] []\n"
