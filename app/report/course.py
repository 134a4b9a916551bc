"""A run under way: what it was asked for, and what became of its chapters so far."""

from dataclasses import dataclass, field
from typing import Any

from streaming_lab.report import record
from streaming_lab.report.chapter import Chapter, Plan
from streaming_lab.report.progress import Progress


@dataclass
class Course:
    """The results of a plan, chapter by chapter."""

    plan: Plan
    progress: Progress
    results: list[record.Chapter] = field(default_factory=list)
    notebooks: dict[str, Any] = field(default_factory=dict)
    stopped: record.Failure | None = None  # why nothing more can run: interrupt, time limit, no cluster

    def obstacle(self, chapter: Chapter) -> record.Failure | None:
        """Why `chapter` can't run, or None."""
        if self.stopped:
            return self.stopped
        for result in self.results:
            if result.status != "passed" and any(result.name.startswith(need) for need in chapter.needs):
                what = "failed" if result.status == "failed" else "did not run"
                return record.Failure("set-up", f"chapter {result.number} {what}")
        return None

    def skip(self, chapter: Chapter, why: record.Failure) -> None:
        """Record that `chapter` did not run."""
        self.results.append(record.Chapter(chapter.name, chapter.number, chapter.title, "skipped", 0.0, (), why))
        reason = why.problem.splitlines()[0]
        self.progress.say(f"{chapter.number} {chapter.title}: did not run, because {reason}")

    def cut_off(self, execution: Any) -> None:
        """Ctrl-C in the middle of a chapter: keep what its cells did."""
        chapter = execution.chapter
        execution.failed = execution.current
        failure = execution.failure("interrupt", "interrupted (Ctrl-C)")
        seconds = round(sum(execution.seconds.values()), 3)
        self.results.append(
            record.Chapter(chapter.name, chapter.number, chapter.title, "failed", seconds, execution.cells(), failure)
        )
        self.notebooks[chapter.name] = execution.notebook

    def interrupt(self) -> None:
        """Record Ctrl-C: every chapter that has no result yet did not run."""
        self.stopped = record.Failure("interrupt", "the run was interrupted (Ctrl-C)")
        for chapter in self.plan.chapters[len(self.results) :]:
            self.skip(chapter, self.stopped)
