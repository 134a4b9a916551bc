"""Builds the optional native core beside its source; everything else about the project is in pyproject.toml.

Without a C compiler, or when compiling fails, the install succeeds all the same and the pure-Python decoder is used
(`streaming_lab.reader.decode.native.core_status()` says which). The built module carries its source's hash, so that a
stale one is noticed, and its own hash is written beside it, so that a changed one is never loaded.
"""

import hashlib
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

SOURCE = Path("src/streaming_lab/reader/decode/_columns.c")


def has_compiler() -> bool:
    """Is there a C compiler to call? macOS has a stub `cc` that opens a dialog instead: ask for its tools first."""
    if sys.platform == "darwin":
        tools = subprocess.run(["xcode-select", "-p"], capture_output=True, check=False)
        if tools.returncode != 0:
            return False
    compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")
    return shutil.which(compiler[0]) is not None


class BuildWithHash(build_ext):
    """Writes `<module>.sha256` beside each module that was built."""

    def build_extension(self, ext: Extension) -> None:
        """Build one module; a failure leaves by an exception, and writes no hash."""
        super().build_extension(ext)
        self.with_hash = [*getattr(self, "with_hash", []), ext.name]

    def run(self) -> None:
        """Build, put the modules where they belong, and hash them there."""
        super().run()
        for name in getattr(self, "with_hash", []):
            built = Path(self.get_ext_fullpath(name))
            Path(f"{built}.sha256").write_text(hashlib.sha256(built.read_bytes()).hexdigest() + "\n")


core = Extension(
    "streaming_lab.reader.decode._columns",
    [str(SOURCE)],
    define_macros=[("SOURCE_SHA256", hashlib.sha256(SOURCE.read_bytes()).hexdigest())],
    extra_compile_args=["-O3"],
    optional=True,
)
setup(ext_modules=[core] if has_compiler() else [], cmdclass={"build_ext": BuildWithHash})
