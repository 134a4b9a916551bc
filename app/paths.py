"""The folders of the project and of everything that the lab makes."""

from pathlib import Path

from streaming_lab import settings

PROJECT = Path(__file__).resolve().parent.parent
SOURCE = PROJECT / "src"  # where this package is imported from: src/streaming_lab is a link to app/


def lab_home() -> Path:
    """The folder of running clusters, their state and logs: `LAB_HOME`, otherwise `.lab` in the project."""
    return settings.HOME.get() or PROJECT / ".lab"


def cache_folder() -> Path:
    """The folder of Kafka's jars and start-up caches: `LAB_CACHE`, otherwise `.lab/cache` in the project."""
    return settings.CACHE.get() or PROJECT / ".lab" / "cache"


def build_folder() -> Path:
    """The folder of a run's results: `LAB_BUILD`, otherwise `build` in the project."""
    return settings.BUILD.get() or PROJECT / "build"
