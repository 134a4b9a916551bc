"""A broker's files for a JVM, under any path: escaped properties, links instead of paths, a folder for libraries.

A JVM splits class paths and cache options at colons, Kafka splits `log.dirs` at commas, and Java decodes paths with
the locale. A broker therefore runs in its own folder and takes relative names; links there lead to other folders.
"""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from streaming_lab.cluster.base import ClusterError

_NOEXEC: int = getattr(os, "ST_NOEXEC", 0)  # Linux only


def properties_text(properties: Mapping[str, object]) -> str:
    """The text of a Java properties file, in ASCII: Java reads Latin-1, and takes a backslash for an escape."""
    return "".join(f"{name}={escape_property(str(value))}\n" for name, value in properties.items())


def escape_property(value: str) -> str:
    """One value of a Java properties file: other characters than ASCII as UTF-16 units, `\\uXXXX`."""
    units = value.encode("utf-16-be", "surrogatepass")
    codes = [int.from_bytes(units[at : at + 2], "big") for at in range(0, len(units), 2)]
    text = "".join(chr(code) if 32 <= code < 127 and code != 92 else f"\\u{code:04x}" for code in codes)
    return f"\\{text}" if text.startswith(" ") else text


def link_folder(link: Path, target: Path) -> bool:
    """Make `link` lead to `target`, or see that it does; False where the file system has no links."""
    try:
        if not link.is_symlink():
            link.symlink_to(target)
        return os.readlink(link) == os.fspath(target)
    except OSError:
        return False


def relative_class_path(folder: Path, jars: tuple[str, ...]) -> str:
    """The class path of a JVM that runs in `folder`: names below its link `jars`."""
    parents = {Path(jar).parent for jar in jars}
    if len(parents) == 1 and link_folder(folder / "jars", parents.pop()):
        return os.pathsep.join(f"jars/{Path(jar).name}" for jar in jars)
    if torn := next((jar for jar in jars if os.pathsep in jar), None):
        raise ClusterError(
            f"Java cannot take a class path with a colon: {Path(torn).parent}", "Set LAB_CACHE to another folder."
        )
    return os.pathsep.join(jars)


def relative_option(folder: Path, option: str) -> str:
    """A JVM option that names a start-up cache, by its name below the link `cache` in `folder`; any other as it is."""
    name, _, file = option.partition("=")
    if name in ("-XX:AOTCache", "-XX:AOTCacheOutput") and link_folder(folder / "cache", Path(file).parent):
        return f"{name}=cache/{Path(file).name}"
    return option


def allows_programs(folder: Path) -> bool:
    """Whether programs and libraries below `folder` may be loaded: its mount is not `noexec`."""
    return not os.statvfs(folder).f_flag & _NOEXEC


def make_temporary(folder: Path) -> None:
    """Make a JVM's temporary folder, to which Kafka unpacks the native libraries of zstd, snappy and lz4.

    On a mount with `noexec` the folder is a link to a new one elsewhere. Raises `ClusterError` where no folder will do.
    """
    if folder.is_dir():
        return
    folder.unlink(missing_ok=True)  # a link to a folder that is gone
    if allows_programs(folder.parent):
        folder.mkdir()
        return
    for place in (Path(tempfile.gettempdir()), Path("/var/tmp"), Path("/dev/shm")):  # noqa: S108  (mkdtemp makes it private)
        with contextlib.suppress(OSError):
            if allows_programs(place):
                folder.symlink_to(tempfile.mkdtemp(prefix="streaming-lab-", dir=place))
                return
    raise ClusterError(
        f"{folder.parent} and the system's temporary folders are mounted noexec: Kafka could not load zstd and snappy",
        "Set TMPDIR or LAB_HOME to a folder on a mount that allows programs.",
    )


def remove_temporary(folder: Path) -> None:
    """Remove the folder elsewhere to which a JVM's temporary folder leads, if it is a link."""
    if folder.is_symlink():
        shutil.rmtree(folder.resolve(), ignore_errors=True)
