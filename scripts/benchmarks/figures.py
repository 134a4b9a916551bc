"""From runs to figures: every frame checked, then medians, ranges, ratios, and the table that the README shows."""

import statistics
from collections.abc import Sequence
from typing import Any

from benchmarks.ways import WAYS
from streaming_lab.errors import LabError


def check_equal(runs: dict[str, list[dict[str, Any]]]) -> None:
    """Every frame of every round must hold the same, column by column, before any time means anything."""
    contents = [(name, found["content"]) for name, each in runs.items() for found in each if "content" in found]
    for name, content in contents[1:]:
        first, expected = contents[0]
        wrong = [column for column in expected if content[column] != expected[column]]
        if wrong:
            raise LabError(
                f"{name} and {first} do not agree in {', '.join(wrong)}", "One of them is wrong: no times are given."
            )


def figures(runs: dict[str, list[dict[str, Any]]]) -> dict[str, dict[str, Any]]:
    """Medians, ranges and ratios; a ratio whose other side did not run is null."""
    median = {name: statistics.median(found["seconds"] for found in each) for name, each in runs.items()}
    memory = {name: statistics.median(found["peak_rss_mb"] for found in each) for name, each in runs.items()}
    c_clients = [name for name in median if WAYS[name].c_client]
    best = min(c_clients, key=lambda name: median[name], default=None)

    def ratio(over: str | None, under: str, values: dict[str, float]) -> float | None:
        return None if over not in values else round(values[over] / values[under], 3)

    def of_roof(name: str) -> float | None:
        return None if "roof" not in median else round(median["roof"] / median[name], 3)

    found = {}
    for name, each in runs.items():
        seconds = [one["seconds"] for one in each]
        found[name] = {
            "seconds": round(median[name], 4),
            "range": [round(min(seconds), 4), round(max(seconds), 4)],
            "x_naive": ratio("naive", name, median),
            "x_best_peer": ratio(best, name, median),
            "of_roof": of_roof(name),
            "import_seconds": round(statistics.median(one["import_seconds"] for one in each), 3),
            "cpu_seconds": round(statistics.median(one["cpu_seconds"] for one in each), 3),
            "peak_rss_mb": round(memory[name]),
            "memory_of_naive": None if "naive" not in memory else round(memory[name] / memory["naive"], 3),
            "best_peer": name == best,
        }
    return found


def table(result: dict[str, Any]) -> str:
    """The figures as a table for the terminal; the README's is this one."""
    setting, machine = result["setting"], result["machine"]
    lines = [
        f"{setting['events']} events of {setting['bytes_per_event']} bytes, {setting['partitions']} partitions, "
        f"{setting['codec']}, batches of up to {setting['batch_bytes']} bytes; {setting['rounds']} interleaved rounds",
        f"{machine['processor']}, {machine['cores']} cores, {machine['system']}, Python {machine['python']}",
        "every frame held the same",
        "",
        "| way | s (median) | range | x naive | x best C-client peer | of the roof | import s | peak MB | of naive's |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, found in sorted(result["read"].items(), key=lambda each: -each[1]["seconds"]):
        low, high = found["range"]
        title = WAYS[name].title + (" (the best peer)" if found["best_peer"] else "")
        cells = [
            title,
            f"{found['seconds']:.3f}",
            f"{low:.3f}-{high:.3f}",
            _figure(found["x_naive"], "{:.1f}"),
            _figure(found["x_best_peer"], "{:.2f}"),
            _figure(found["of_roof"], "{:.0%}"),
            f"{found['import_seconds']:.2f}",
            f"{found['peak_rss_mb']}",
            _figure(found["memory_of_naive"], "{:.2f}"),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    lines += [f"not run: {WAYS[name].title}: {reason}" for name, reason in result["failed"].items()]
    return "\n".join(lines)


def _figure(value: float | None, form: str) -> str:
    return "-" if value is None else form.format(value)


def spread(seconds: Sequence[float], digits: int) -> dict[str, float]:
    """The median and the range."""
    found = {"seconds": statistics.median(seconds), "low": min(seconds), "high": max(seconds)}
    return {name: round(value, digits) for name, value in found.items()}
