"""One-line conclusion and progress of a study, for report and explorer."""

from cmt_search.analysis.figure_front import cost_shown, front_headline
from cmt_search.analysis.study import Analysis, state_counts
from cmt_search.analysis.text import headline
from cmt_search.format import counted, duration


def study_headline(analysis: Analysis) -> str:
    """Summarise the conclusion of a study in a sentence."""
    chance = analysis.chance
    if chance is not None and chance.is_near:
        return chance.headline
    if analysis.verdict is not None:
        return headline(analysis.verdict)
    if analysis.paper is None:
        return front_headline(analysis.front.networks, cost=cost_shown(analysis.front)) + "."
    return analysis.no_verdict


def study_progress(analysis: Analysis) -> str:
    """Summarise the progress of a study."""
    states = ", ".join(f"{count} {state}" for state, count in state_counts(analysis).items())
    seconds = sum(record.seconds for record in analysis.records)
    return (
        f"{counted(len(analysis.records), 'trial')} ({states or 'none yet'}), "
        f"{counted(len(analysis.front.networks), 'network')} at full fidelity, "
        f"{duration(seconds)} of training." + _interrupted(analysis)
    )


def _interrupted(analysis: Analysis) -> str:
    """Advise to resume a study whose running trials have no driver."""
    if all(record.state != "interrupted" for record in analysis.records):
        return ""
    return " Interrupted: no active driver; continue with `cmt-search resume RUN`."
