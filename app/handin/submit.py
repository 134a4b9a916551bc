"""Packs a report to be handed in: one zip with page, record, notebooks, frames, their hashes, and a research crate."""

import argparse
import json
import sys
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import nbformat

from streaming_lab.cli import VERSION
from streaming_lab.errors import LabError
from streaming_lab.handin.crate import crate_metadata
from streaming_lab.paths import PROJECT, build_folder
from streaming_lab.report.chapter import find_chapters
from streaming_lab.report.code_state import tree_hashes
from streaming_lab.report.provenance import sha256, without_outputs
from streaming_lab.report.record import FORMAT, Run, write_atomically, write_text
from streaming_lab.report.run_folder import FRAMES

ARCHIVE = "submission.zip"
MOMENT = (1980, 1, 1, 0, 0, 0)  # of each entry: the same report gives the same zip
TOP = "submission/"


def main(arguments: Sequence[str] | None = None) -> int:
    """Pack the last report; the exit code is 0, or 2 where the report is not fit to be handed in."""
    made = argparse.ArgumentParser(
        prog="python3 scripts/submit.py", description=f"Pack the last report as build/{ARCHIVE}."
    )
    made.add_argument("--version", action="version", version=VERSION)
    made.add_argument(
        "--anyway", action="store_true", help="pack a failed, partial or changed report, and say so on its page"
    )
    options = made.parse_args(arguments)
    path = pack(build_folder(), anyway=options.anyway)
    sys.stdout.write(f"{path} ({path.stat().st_size / 1e6:.1f} MB)\n")
    return 0


def pack(build: Path, *, anyway: bool = False) -> Path:
    """Write the zip of the report in `build`; raises `LabError` for one that is not fit, unless `anyway`."""
    run = read_report(build)
    if reasons := unfit(run, build):
        if not anyway:
            raise LabError(
                f"this report is not fit to be handed in: {'; '.join(reasons)}",
                "Run python3 scripts/report.py again, or hand it in as it is, which its page then says: --anyway",
            )
        run = mark_page(build, run, reasons)
    files = {name: build / name for name in handed_in(build, run)}
    missing = [name for name in ("report.html", *(f"{one.name}.ipynb" for one in run.chapters)) if name not in files]
    if missing and not anyway:
        raise LabError(f"{', '.join(missing)} is not in {build}", "Run python3 scripts/report.py again.")
    if (lock := PROJECT / "requirements.txt").exists():
        files["requirements.txt"] = lock
    hashes = {name: sha256(path) for name, path in sorted(files.items())}
    texts = {"RERUN.md": rerun_text(run)}
    texts["ro-crate-metadata.json"] = crate_metadata(run, {name: (path, hashes[name]) for name, path in files.items()})
    texts["SHA256SUMS"] = "".join(f"{hash_}  {name}\n" for name, hash_ in hashes.items())
    target = build / ARCHIVE
    write_atomically(target, lambda path: write_zip(path, files, texts))
    return target


def read_report(build: Path) -> Run:
    """The record of the report in `build`; `LabError` where there is none of this version."""
    try:
        text = (build / "run.json").read_text(encoding="utf-8")
        if json.loads(text)["format"] != FORMAT:
            raise LabError(f"the report in {build} is of another version", "Run python3 scripts/report.py again.")
        return Run.from_json(text)
    except FileNotFoundError:
        raise LabError(f"there is no report in {build}", "Run python3 scripts/report.py first.") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LabError(
            f"the record in {build} can't be read: {error}", "Run python3 scripts/report.py again."
        ) from error


def unfit(run: Run, build: Path) -> list[str]:
    """Why a report should not be handed in: it failed, it lacks chapters, code or given cells were changed."""
    reasons = []
    if run.status != "passed":
        reasons.append(f"it failed ({run.reason.splitlines()[0]})")
    ran = {chapter.name for chapter in run.chapters}
    given = [chapter for chapter in find_chapters(PROJECT / "notebooks") if not chapter.by_name]
    lacking = [chapter.name for chapter in given if chapter.name not in ran]
    if lacking:
        reasons.append(f"it is partial (without {', '.join(lacking)})")
    if run.changed:
        reasons.append(f"code or given cells were changed ({', '.join(run.changed[:5])})")
    elif run.code != tree_hashes():
        reasons.append("app/ or scripts/ are not those of the run any more")
    changed = [
        name.removeprefix("build/")
        for name, kept in run.hashes.items()
        if name.startswith("build/")
        and (build / name.removeprefix("build/")).is_file()
        and sha256(build / name.removeprefix("build/")) != kept
    ]
    return [*reasons, *([f"files were changed since the run ({', '.join(changed[:5])})"] if changed else [])]


def mark_page(build: Path, run: Run, reasons: Sequence[str]) -> Run:
    """Render the page again with a note that it is handed in anyway, and why; returns the record that says so."""
    from streaming_lab.report.render import page

    notebooks = {
        one.name: nbformat.read(build / f"{one.name}.ipynb", as_version=4)  # type: ignore[no-untyped-call]
        for one in run.chapters
        if (build / f"{one.name}.ipynb").exists()
    }
    marked = replace(run, anyway=tuple(reasons))
    text = page.render_page(without_outputs(marked), notebooks, PROJECT / "notebooks")
    write_text(build / "report.html", text)
    marked = replace(marked, hashes={**run.hashes, "build/report.html": sha256(build / "report.html")})
    write_text(build / "run.json", marked.to_json())
    return marked


def handed_in(build: Path, run: Run) -> list[str]:
    """The names of the report's files that are handed in."""
    names = ["report.html", "run.json", *(f"{frame}.parquet" for frame in FRAMES), "kept/experiments.json"]
    names += [f"{one.name}.ipynb" for one in run.chapters]
    return [name for name in names if (build / name).is_file()]


def rerun_text(run: Run) -> str:
    """How to make the same run again: one command in a checkout of the same commit."""
    where = f"commit {run.commit}" if run.commit else "the same code (its hashes are in run.json)"
    return (
        f"# To run it again\n\nIn a checkout of the reproducible streaming lab, {where}:\n\n    {run.command}\n\n"
        f"To check what was handed in without running it:\n\n    python3 scripts/verify.py {ARCHIVE}\n"
    )


def write_zip(target: Path, files: dict[str, Path], texts: dict[str, str]) -> None:
    """Write the entries in the order of their names, with one time for all."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        for name in sorted({*files, *texts}):
            entry = zipfile.ZipInfo(TOP + name, MOMENT)
            entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            archive.writestr(entry, texts[name] if name in texts else files[name].read_bytes())
