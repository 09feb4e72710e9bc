"""What the page says in words."""

from cmt_search.analysis import Analysis, explanation, headline, state_counts
from cmt_search.analysis.figure_front import front_finding
from cmt_search.analysis.wording import duration
from cmt_search.explorer.live import Snapshot


def status(snapshot: Snapshot) -> str:
    """How far the study is, and what keeps the page from showing more."""
    if snapshot.analysis is None:
        return snapshot.problem or "Reading the study \N{HORIZONTAL ELLIPSIS}"
    said = f"{progress(snapshot.analysis)} Last change seen at {snapshot.read_at}."
    return f"{said} The study cannot be read now: {snapshot.problem}" if snapshot.problem else said


def progress(analysis: Analysis) -> str:
    """How far the study is."""
    states = ", ".join(f"{count} {state}" for state, count in state_counts(analysis).items())
    seconds = sum(record.seconds for record in analysis.records)
    return (
        f"{len(analysis.records)} trials ({states or 'none yet'}), "
        f"{len(analysis.front.networks)} networks at full fidelity, "
        f"{duration(seconds)} of training."
    )


def finding(analysis: Analysis) -> str:
    """The study's answer in a sentence."""
    if analysis.verdict is not None:
        return headline(analysis.verdict)
    if analysis.paper is None:
        return front_finding(analysis.front.networks) + "."
    return analysis.no_verdict


def evidence(analysis: Analysis) -> tuple[str, ...]:
    """What stands behind the answer, a sentence each."""
    return explanation(analysis.verdict) if analysis.verdict is not None else ()
