"""The hand-in as a research crate: ro-crate-metadata.json by the profile Process Run Crate 0.5 (RO-Crate 1.1)."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from streaming_lab import __version__
from streaming_lab.report.record import Run

PROFILE = "https://w3id.org/ro/wfrun/process/0.5"
LICENCE = "https://spdx.org/licenses/BSD-3-Clause"
MEDIA_TYPES = {
    ".html": "text/html",
    ".json": "application/json",
    ".ipynb": "application/x-ipynb+json",
    ".parquet": "application/vnd.apache.parquet",
    ".txt": "text/plain",
}


def crate_metadata(run: Run, files: Mapping[str, tuple[Path, str]]) -> str:
    """The metadata of a run whose `files` have these paths and SHA-256, as JSON-LD."""
    title = str(run.parameters.get("title") or "Report of the reproducible streaming lab")
    author = str(run.parameters.get("author") or run.parameters.get("student") or "unnamed")
    results = [reference(name) for name in sorted(files)]
    parameters = [
        {"@id": f"#parameter-{name}", "@type": "PropertyValue", "name": name, "value": value}
        for name, value in run.parameters.items()
    ]
    action = {
        "@id": "#run",
        "@type": "CreateAction",
        "name": f"Run {run.run_id}",
        "description": run.reason,
        "instrument": reference("#lab"),
        "agent": reference("#author"),
        "object": [reference(one["@id"]) for one in parameters],
        "result": results,
        "startTime": run.started.isoformat(),
        "endTime": run.ended.isoformat(),
        "actionStatus": "http://schema.org/" + ("Completed" if run.status == "passed" else "Failed") + "ActionStatus",
        **({} if run.status == "passed" else {"error": run.reason}),
    }
    graph: list[dict[str, Any]] = [
        {
            "@id": "ro-crate-metadata.json",
            "@type": "CreativeWork",
            "conformsTo": reference("https://w3id.org/ro/crate/1.1"),
            "about": reference("./"),
        },
        {
            "@id": "./",
            "@type": "Dataset",
            "name": title,
            "description": "What ran, on what, with what result: a page, its executed notebooks, their data.",
            "datePublished": run.ended.isoformat(),
            "license": reference(LICENCE),
            "conformsTo": reference(PROFILE),
            "hasPart": results,
            "mentions": reference("#run"),
        },
        {"@id": PROFILE, "@type": "CreativeWork", "name": "Process Run Crate", "version": "0.5"},
        {"@id": LICENCE, "@type": "CreativeWork", "name": "BSD-3-Clause", "description": "The lab's own licence."},
        {"@id": "#author", "@type": "Person", "name": author},
        {
            "@id": "#lab",
            "@type": "SoftwareApplication",
            "name": "reproducible streaming lab",
            "version": str(run.versions.get("streaming-lab", __version__)),
            "softwareVersion": str(run.versions.get("streaming-lab", __version__)),
        },
        action,
        *parameters,
        *(file_entity(name, *files[name]) for name in sorted(files)),
    ]
    document = {"@context": "https://w3id.org/ro/crate/1.1/context", "@graph": graph}
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def reference(name: str) -> dict[str, str]:
    """A reference to an entity."""
    return {"@id": name}


def file_entity(name: str, path: Path, sha256: str) -> dict[str, Any]:
    """One file of the crate."""
    return {
        "@id": name,
        "@type": "File",
        "name": name,
        "encodingFormat": MEDIA_TYPES.get(path.suffix, "application/octet-stream"),
        "contentSize": str(path.stat().st_size),
        "sha256": sha256,
    }
