"""Where the lab keeps what it makes: one folder, so that removing it leaves nothing behind."""

from pathlib import Path

from streaming_lab import settings

PROJECT = Path(__file__).resolve().parent.parent
SOURCE = PROJECT / "src"  # where this package is imported from: src/streaming_lab is a link to app/


def lab_home() -> Path:
    """The lab's own folder: `LAB_HOME`, else `.lab` in the project. Holds jars, caches, the running cluster's state."""
    return settings.HOME.get() or PROJECT / ".lab"


def cache_folder() -> Path:
    """Jars and start-up caches, shared by every lab home: `LAB_CACHE`, else `.lab/cache` in the project."""
    return settings.CACHE.get() or PROJECT / ".lab" / "cache"


def build_folder() -> Path:
    """Where a run's results go: `LAB_BUILD`, else `build` in the project."""
    return settings.BUILD.get() or PROJECT / "build"
