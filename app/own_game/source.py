"""The source of a game as a person names it: a file, a folder or `package.module:app`, and where its imports begin."""

import re
from dataclasses import dataclass
from pathlib import Path

from streaming_lab.errors import LabError
from streaming_lab.wording import did_you_mean

FORMS = "Give a file (-p game path/to/game_api.py) or a module (-p game package.module:app)."
DOTTED = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


@dataclass(frozen=True)
class GameSource:
    """A game's module: the folder from which it is imported, its dotted name, its file, and the app's name if given."""

    root: Path
    module: str
    file: Path
    attribute: str = ""

    @property
    def text(self) -> str:
        """The source in one text that `find_source` understands from any folder."""
        return f"{self.file}:{self.attribute}" if self.attribute else str(self.file)

    @property
    def name(self) -> str:
        """The file's name below its root, for titles and tables."""
        return self.file.relative_to(self.root).as_posix()


def find_source(text: str, folder: Path | None = None) -> GameSource:
    """The game that `text` names, seen from `folder` (the current one); raises `LabError` if there is none."""
    folder = folder or Path.cwd()
    place, _, attribute = text.strip().rpartition(":") if re.search(r":[A-Za-z_]\w*$", text) else (text.strip(), "", "")
    path = (folder / Path(place).expanduser()).resolve()
    if not path.exists() and DOTTED.fullmatch(place) and not place.endswith(".py"):
        below = folder.resolve().joinpath(*place.split("."))
        path = below if below.is_dir() else below.with_suffix(".py")
    if path.is_dir():
        path = path / "__init__.py"
    if path.suffix != ".py":
        raise LabError(f"game = {text}: {path.name} is no Python file", FORMS)
    if not path.is_file():
        raise LabError(f"game = {text}: there is no {path}{_near(path)}", FORMS)
    root, parts = path.parent, [] if path.name == "__init__.py" else [path.stem]
    while (root / "__init__.py").exists():
        parts.insert(0, root.name)
        root = root.parent
    return GameSource(root, ".".join(parts), path, attribute)


def _near(path: Path) -> str:
    names = [one.name for one in path.parent.glob("*.py")] if path.parent.is_dir() else []
    return did_you_mean(path.name, names, cutoff=0.5)
