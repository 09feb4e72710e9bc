"""What the page says in words."""

from collections.abc import Collection

from cmt_search.analysis import Analysis, explanation, study_progress
from cmt_search.explorer.live import Snapshot
from cmt_search.explorer.room import Room


def situation(room: Room, *, run: str | None, overlays: Collection[str]) -> str:
    """How far the study is, and which of those to be laid over it cannot be read."""
    unread = [
        f"Run {name}, to be laid over it, cannot be read: {snapshot.problem}"
        for name, snapshot in room.laid_over(run, overlays).items()
        if snapshot.analysis is None and snapshot.problem
    ]
    return " ".join([status(room.snapshot(run)), *unread])


def status(snapshot: Snapshot) -> str:
    """How far the study is, and what keeps the page from showing more."""
    if snapshot.analysis is None:
        return snapshot.problem or "Reading the study \N{HORIZONTAL ELLIPSIS}"
    said = f"{study_progress(snapshot.analysis)} Last change seen at {snapshot.read_at}."
    return f"{said} The study cannot be read now: {snapshot.problem}" if snapshot.problem else said


def evidence(analysis: Analysis) -> tuple[str, ...]:
    """What stands behind the answer, a sentence each."""
    return explanation(analysis.verdict) if analysis.verdict is not None else ()
