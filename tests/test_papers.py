"""The papers are held to the code: their tables, commands, examples, links and pictures."""

import ast
import importlib
import importlib.util
import json
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from xml.etree import ElementTree

import pytest

from streaming_lab.client.connection import Connection, addresses
from streaming_lab.delivery.ways import DELIVERING, log_class
from streaming_lab.game.events import COLUMNS, EVENT_TYPES, OWN_FIELDS
from streaming_lab.report import chapter
from streaming_lab.report.run_folder import FRAMES

PROJECT = Path(__file__).resolve().parent.parent
PAPERS = {
    path.relative_to(PROJECT).as_posix(): path.read_text(encoding="utf8")
    for path in sorted([*PROJECT.glob("*.md"), *PROJECT.glob("docs/*.md")])
}
README = PAPERS["README.md"]
FIGURES, READING, DELIVERY = PAPERS["docs/figures.md"], PAPERS["docs/reading.md"], PAPERS["docs/delivery.md"]
ARCHITECTURE, SETTINGS = PAPERS["docs/architecture.md"], PAPERS["docs/settings.md"]
CHAPTERS = chapter.find_chapters(PROJECT / "notebooks")
METADATA = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf8"))["project"]
WALLS = ("__init__.py",)  # a package's own line stands in the table of packages


def table(paper: str, *heads: str) -> list[list[str]]:
    """The rows of all tables with these column heads, one table after the other."""
    found = []
    for part in paper.split(f"| {' | '.join(heads)} |\n")[1:]:
        for line in part.split("\n\n")[0].splitlines()[1:]:
            found.append([cell.strip() for cell in line.strip("|").split("|")])
    assert found, f"no table {heads}"
    return found


def code(paper: str, language: str) -> list[str]:
    """The blocks of code in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", paper, re.M | re.S)


def promise(document: dict[str, list[dict[str, list[str]]]]) -> str:
    """The line below a chapter's H1."""
    return "".join(document["cells"][0]["source"]).split("\n\n")[1].strip()


def first_line(path: Path) -> str:
    """The first line of a module's docstring."""
    return (ast.get_docstring(ast.parse(path.read_text(encoding="utf8"))) or "").partition("\n")[0]


def test_the_readme_is_short() -> None:
    """A student reads 120 lines at most before the first report."""
    assert len(README.splitlines()) <= 120


def test_the_chapters_are_the_notebooks() -> None:
    """The table of chapters: every notebook, in order, with its own promise."""
    expected = [[f"[{one.name}](notebooks/{one.name}.ipynb)", promise(one.document)] for one in CHAPTERS]
    assert table(README, "notebook", "what the reader sees") == expected


def test_the_parameters_are_those_of_the_notebooks() -> None:
    """The table of parameters: each that a notebook declares, with its type, default, meaning and limits."""
    declared = {name: one for found in CHAPTERS for name, one in found.parameters.items()}
    expected = []
    for name, one in declared.items():
        limits = f" ({one.limits()})" if one.limits() else ""
        expected.append(
            [
                f"`{name}`",
                one.type,
                f"`{str(one.default).lower() if one.type == 'bool' else one.default}`",
                one.meaning + limits,
            ]
        )
    assert table(README, "parameter", "type", "default", "meaning") == expected


def test_the_events_are_those_of_the_game() -> None:
    """The table of events: every type with its fields in wire order."""
    expected = [
        [f"`{one.name}`", ", ".join(f"`{name}`" for name in COLUMNS if name not in OWN_FIELDS or name in one.fields)]
        for one in EVENT_TYPES.values()
    ]
    assert table(READING, "event type", "its fields") == expected


def test_the_ways_promise_what_the_code_says() -> None:
    """The table of ways: each way to deliver with the guarantee of its class."""
    expected = [[way, log_class(way).guarantee] for way in DELIVERING]
    assert table(DELIVERY, "way", "what an answer of 200 promises") == expected


def test_the_prices_of_the_ways_are_those_of_the_figures() -> None:
    """The short table of prices is cut from the long one: over none for one client, share for eight."""
    measured = {}
    for line in FIGURES.splitlines():
        if row := re.match(r"(\S[^|]*?) +\| +\S+ +([+]\S+) +\S+ \|.* (\S+)$", line):
            measured[row[1]] = [f"{float(row[2]):.2f}", row[3]]
    expected = [[way, *measured[way]] for way in DELIVERING]
    heads = "ms more than no logging, 1 client (median)", "throughput beside no logging, 8 clients"
    assert table(DELIVERY, "way", *heads) == expected


def test_the_readme_s_three_figures_are_those_of_the_figures() -> None:
    """Naive, best peer and ours stand in the README as they were measured."""
    heads = "way", "s (median)", "range", "x naive", "x best C-client peer", "of the roof", "import s", "peak MB"
    measured = {row[0]: row for row in table(FIGURES, *heads, "of naive's")}
    shown = table(README, "way", "seconds", "peak memory")
    expected = [[row[0], f"{float(measured[row[0]][1]):.1f}", f"{measured[row[0]][7]} MB"] for row in shown]
    assert shown == expected
    assert len(shown) == 3


def packages() -> dict[str, str]:
    """Every package below app/, with the first line of its docstring."""
    found = sorted((PROJECT / "app").rglob("__init__.py"))
    return {f"`{path.parent.relative_to(PROJECT).as_posix()}/`": first_line(path) for path in found[1:]}


def modules() -> dict[str, str]:
    """Every module of app/, with the first line of its docstring."""
    found = (path for path in sorted((PROJECT / "app").rglob("*.py")) if path.name not in WALLS)
    return {f"`{path.relative_to(PROJECT / 'app').as_posix()}`": first_line(path) for path in found}


def test_the_packages_are_those_of_the_house() -> None:
    """The table of packages: each once, with the first line of its docstring."""
    rows = table(ARCHITECTURE, "package", "what it is")
    assert dict(rows) == packages()
    assert len(rows) == len(packages())


def test_the_modules_are_those_of_the_house() -> None:
    """The tables of modules: each once, with the first line of its docstring."""
    rows = table(ARCHITECTURE, "module", "what it is")
    assert dict(rows) == modules()
    assert len(rows) == len(modules())


def test_the_walk_shows_each_room_that_an_event_goes_through() -> None:
    """The picture of the walk is a well-formed SVG that names every room, and tells the walk in words, too."""
    drawing = ElementTree.parse(PROJECT / "docs" / "walk.svg")
    words = set(re.findall(r"\w+", " ".join(drawing.getroot().itertext())))
    assert {name.split("/")[1] for name in packages()} - words == set()
    assert drawing.findtext("{http://www.w3.org/2000/svg}desc")


def test_the_settings_are_those_of_the_code() -> None:
    """The table of settings: each with what --help says of it."""
    from streaming_lab import settings

    expected = [[f"`{one.name}`", f"`{one.shown}`", one.meaning] for one in settings.SETTINGS]
    assert table(SETTINGS, "variable", "default", "meaning") == expected


def test_every_frame_that_is_written_is_taken_away_by_the_next_run() -> None:
    """A frame that is told of here and forgotten there would be an old one in a new report's folder."""
    files = "\n".join(row[0] for row in table(SETTINGS, "file", "what it holds"))
    assert set(re.findall(r"`build/(\w+)\.parquet`", files)) == set(FRAMES)


def test_the_pythons_are_those_of_the_package() -> None:
    """The README names the oldest and the newest Python that the package takes."""
    low, high = re.fullmatch(r">=(3\.\d+),<3\.(\d+)", METADATA["requires-python"]).groups()  # type: ignore[union-attr]
    assert f"Python {low} to 3.{int(high) - 1}" in README


def test_one_version_everywhere() -> None:
    """The package, the citation and the newest entry of the changelog tell the same version."""
    from streaming_lab import __version__

    [cited] = re.findall(r"^version: (\S+)$", (PROJECT / "CITATION.cff").read_text(encoding="utf8"), re.M)
    newest = re.findall(r"^## \[([\d.]+)\] - \d{4}-\d\d-\d\d$", PAPERS["CHANGELOG.md"], re.M)[0]
    assert {cited, newest} == {__version__}


def commands() -> list[str]:
    """Every `python3 scripts/...` and `python3 -m streaming_lab...` in the papers, once."""
    found = re.findall(r"python3 (?:scripts/|-m streaming_lab)[^`\n#|)]+", "\n".join(PAPERS.values()))
    return sorted({one.strip() for one in found})


@pytest.mark.parametrize("command", commands())
def test_each_command_names_a_program_that_exists(command: str) -> None:
    """What the papers tell people to type is there to be typed: the script, or the module and its main part."""
    words = shlex.split(command)
    if words[1] != "-m":
        assert (PROJECT / words[1]).is_file()
        return
    found = importlib.util.find_spec(words[2])
    assert found is not None
    if found.submodule_search_locations:
        assert importlib.util.find_spec(f"{words[2]}.__main__")
    else:
        assert "__main__" in Path(found.origin or "").read_text(encoding="utf8")


@pytest.mark.parametrize("paper", sorted(PAPERS.keys() - {"docs/moved.md", "docs/architecture.md"}))
def test_a_module_or_a_notebook_s_tool_is_called_in_the_environment_only(paper: str) -> None:
    """papermill and `-m streaming_lab` need the environment: a paper that names them names how to enter it."""
    if re.search(r"`papermill |-m streaming_lab[.\w]* [-A-Z]", PAPERS[paper]):
        assert "source .venv/bin/activate" in PAPERS[paper]


def anchors(paper: str) -> set[str]:
    """The headings of a paper as GitHub links to them."""
    heads = re.findall(r"^#+ (.+)$", PAPERS[paper], re.M)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def links() -> list[tuple[str, str]]:
    """(paper, target) of every relative link."""
    found = []
    for paper, text in PAPERS.items():
        prose = re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)
        for target in sorted(set(re.findall(r"\]\((?!https?:)([^)]+)\)", prose))):
            found.append((paper, target))
    return found


@pytest.mark.parametrize(("paper", "link"), links())
def test_each_link_leads_somewhere(paper: str, link: str) -> None:
    """A relative link names a file of the project, and the part behind # one of its headings."""
    path, _, anchor = link.partition("#")
    target = (PROJECT / paper).parent / path if path else PROJECT / paper
    assert target.exists()
    if anchor:
        assert anchor in anchors(target.resolve().relative_to(PROJECT).as_posix())


@pytest.mark.parametrize("paper", [name for name in PAPERS if name.startswith("docs/")])
def test_each_page_can_be_reached(paper: str) -> None:
    """Every page of docs/ is linked from the README."""
    assert f"({paper}" in README


def test_each_picture_has_words() -> None:
    """The pictures of all papers have an alternative text."""
    pictures = [found for text in PAPERS.values() for found in re.findall(r"!\[(.*?)\]\((.*?)\)", text, re.S)]
    assert len(pictures) >= 2
    assert [path for alt, path in pictures if not alt] == []


def test_what_has_moved_is_where_the_page_says() -> None:
    """Each name of the right column of moved.md can be imported, or run, from there."""
    for _, new in table(PAPERS["docs/moved.md"], "in version 0.1", "now"):
        if found := re.fullmatch(r"`from (\S+) import (.+)`", new):
            check_names(found[1], found[2].split(", "))


def check_names(module: str, names: list[str]) -> None:
    """Each name is there: of the module, or a module below it."""
    there = importlib.import_module(module)
    missing = [one for one in names if not hasattr(there, one) and not importlib.util.find_spec(f"{module}.{one}")]
    assert missing == []


@pytest.mark.parametrize("paper", [name for name, text in PAPERS.items() if code(text, "python")])
def test_each_example_compiles_and_finds_what_it_imports(paper: str) -> None:
    """A Python example in a paper is Python, and imports what exists."""
    for example in code(PAPERS[paper], "python"):
        for node in ast.walk(ast.parse(example)):
            if isinstance(node, ast.ImportFrom):
                check_names(node.module or "", [alias.name for alias in node.names])


@pytest.mark.parametrize("paper", ["README.md", "docs/reading.md"])
def test_the_reader_s_example_reads(paper: str, kafka: Connection) -> None:
    """The example of reading a topic runs as it stands, on what the commands below it have made, at another address."""

    def here(text: str) -> str:
        return text.replace("127.0.0.1:9092", addresses(kafka)).replace("events", f"example-{Path(paper).stem}", 1)

    for line in code(READING, "sh")[0].splitlines():
        if "kafka." in line or "topic.py" in line:
            line = re.sub(r"\bpython3?\b", sys.executable, here(line), count=1)
            subprocess.run(line, shell=True, cwd=PROJECT, capture_output=True, timeout=60, check=True)
    names: dict[str, object] = {}
    exec(compile(here(code(PAPERS[paper], "python")[0]), paper, "exec"), names)
    assert names["topic"].events["swords"].tolist() == [1]  # type: ignore[attr-defined]


def test_the_instructor_s_table_is_made_of_what_runs_leave(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The example for a whole class reads the keys that run.json has."""
    from streaming_lab.report.record import Run

    assert set(re.findall(r"`(\w+)`", "".join(row[0] for row in run_keys()))) <= set(Run.__dataclass_fields__)
    for name, rows in (("ada", 1874), ("alan", None)):
        run = {"status": "passed", "parameters": {"seed": 7}, "ledger": rows and {"rows": rows}, "dirty": False}
        (tmp_path / "hand-ins" / name).mkdir(parents=True)
        (tmp_path / "hand-ins" / name / "run.json").write_text(json.dumps({**run, "seconds": 1.0}))
    monkeypatch.chdir(tmp_path)
    [example] = code(PAPERS["docs/instructors.md"], "python")
    body = ast.parse(example).body
    last = body.pop()
    assert isinstance(last, ast.Expr)
    names: dict[str, object] = {}
    exec(compile(ast.Module(body, []), "instructors.md", "exec"), names)
    frame = eval(compile(ast.Expression(last.value), "instructors.md", "eval"), names)
    assert frame["rows"].to_dict() == {"ada": 1874, "alan": None}


def run_keys() -> list[list[str]]:
    """What the page says about the keys of run.json."""
    return table(PAPERS["docs/instructors.md"], "key", "what it tells you")


@pytest.mark.parametrize("file", [".devcontainer/devcontainer.json", ".github/workflows/pages.yml"])
def test_what_we_could_not_run_calls_what_exists(file: str) -> None:
    """Development container and publication were never run by us: at least they name scripts that exist."""
    text = (PROJECT / file).read_text(encoding="utf8")
    scripts = re.findall(r"python3 (scripts/\w+\.py)", text)
    assert scripts
    assert [name for name in scripts if not (PROJECT / name).is_file()] == []
    assert [use for use in re.findall(r"uses: \S+", text) if not re.search(r"@v\d+\.\d+\.\d+$", use)] == []


def test_the_development_container_is_json() -> None:
    """The file holds no comment, so that every tool can read it, and its Python is the environment's."""
    found = json.loads((PROJECT / ".devcontainer" / "devcontainer.json").read_text(encoding="utf8"))
    interpreter = found["customizations"]["vscode"]["settings"]["python.defaultInterpreterPath"]
    assert interpreter == "${containerWorkspaceFolder}/.venv/bin/python"
