"""Progress bars while a search runs, on standard error."""

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as RichProgress

from cmt_search.search import Event, JobFinished, JobStarted, Stopping, TrialFinished

_STOPPING = {
    "interrupted": "interrupted: the running trainings are finished; Ctrl-C again stops at once",
    "aborted": "stopped at once: unfinished trainings continue from their last epoch in a resume",
    "time limit": "the time is up: the running trainings are finished; Ctrl-C stops at once",
}
_LINE_EVERY = 15.0  # seconds between lines where there is no terminal to draw a bar on


class Progress:
    """A listener that draws one bar for the trainings, and names the ones that run."""

    def __init__(self, *, title: str, quiet: bool = False) -> None:
        self._console = Console(stderr=True, quiet=quiet)
        self._bar = RichProgress(
            TextColumn("[bold]{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("trainings"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[state]}"),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task(title, total=None, state="starting workers")
        self._running: dict[tuple[int, int, int], str] = {}
        self._best: float | None = None  # of one training, in earlier sessions too
        self._said = 0.0

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.update(self._task, state=self._state())
        self._bar.stop()

    def __call__(self, event: Event) -> None:
        """Take note of what happened."""
        if isinstance(event, Stopping):
            self.say(_STOPPING[event.reason])
            return
        if isinstance(event, JobStarted | JobFinished):
            place = (event.job.trial, event.job.rung, event.job.seed)
            if isinstance(event, JobStarted):
                self._running[place] = event.name
            else:
                self._running.pop(place, None)
        if line := _line(event):
            self.say(line)
        done, self._best = event.remaining.jobs_done, event.remaining.best_top1
        total = done + event.remaining.jobs
        self._bar.update(self._task, completed=done, total=total, state=self._state())
        if not self._console.is_terminal and time.monotonic() - self._said > _LINE_EVERY:
            self._said = time.monotonic()
            self.say(f"{done}/{total} trainings, {self._state()}")

    def say(self, line: str, *, loud: bool = False) -> None:
        """A line above the bar; `loud` also where all else is quiet."""
        console = Console(stderr=True) if loud and self._console.quiet else self._console
        console.print(line, soft_wrap=True, highlight=False, markup=False)

    def warn(self, line: str) -> None:
        """A line that nobody should miss."""
        self.say(line, loud=True)

    def _state(self) -> str:
        best = "none measured yet" if self._best is None else f"best top1 {self._best:.1%}"
        names = ", ".join(dict.fromkeys(self._running.values()))
        return f"{best}; now {names}" if names else best


def _line(event: Event) -> str | None:
    """What is worth a line of its own: whatever went wrong."""
    if isinstance(event, JobFinished) and event.is_retried:
        return f"trial {event.job.trial} ({event.name}) is tried again: {_first(event.reason)}"
    if isinstance(event, TrialFinished) and event.state == "failed":
        reason = _first(event.reason)
        word = "left out" if reason.startswith("infeasible") else "failed"
        return f"trial {event.number} ({event.name}) {word}: {reason}"
    return None


def _first(reason: str | None) -> str:
    return (reason or "unknown").splitlines()[0]
