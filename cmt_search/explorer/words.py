"""What the page says in words."""

from cmt_search.analysis import Analysis, explanation, progress
from cmt_search.explorer.live import Snapshot


def status(snapshot: Snapshot) -> str:
    """How far the study is, and what keeps the page from showing more."""
    if snapshot.analysis is None:
        return snapshot.problem or "Reading the study \N{HORIZONTAL ELLIPSIS}"
    said = f"{progress(snapshot.analysis)} Last change seen at {snapshot.read_at}."
    return f"{said} The study cannot be read now: {snapshot.problem}" if snapshot.problem else said


def evidence(analysis: Analysis) -> tuple[str, ...]:
    """What stands behind the answer, a sentence each."""
    return explanation(analysis.verdict) if analysis.verdict is not None else ()
