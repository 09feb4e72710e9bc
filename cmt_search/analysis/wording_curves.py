"""Sentences on the curves of accuracy against MACs."""

from collections.abc import Iterator, Sequence

from cmt_search.analysis.law_values import FamilyLaw, FitFailure
from cmt_search.format import macs_text, percent, sentence
from cmt_search.stats import AccuracyLaw

_AT_END = 0.05  # of the resamples; more than that is worth a warning
# Of a curve. Fewer know their own noise so badly that intervals are several times as wide.
_ENOUGH_TRAININGS = 8


def curves_text(families: Sequence[FamilyLaw]) -> Iterator[str]:
    """Describe the curves, then the rules without one, grouped by reason."""
    refused: dict[str, list[str]] = {}
    for family in families:
        if isinstance(family.law, FitFailure):
            refused.setdefault(family.law.reason, []).append(family.rule)
        else:
            yield _family(family, law=family.law)
    for reason, rules in refused.items():
        yield f"Accuracy against MACs of {' and '.join(rules)}: no curve. {sentence(reason)}"


def _family(family: FamilyLaw, *, law: AccuracyLaw) -> str:
    inside, beyond = family.predictions[-2:]
    return (
        f"Accuracy against MACs of {family.rule}: error = {_formula(law)}. At "
        f"{macs_text(inside.macs)}, top-1 {percent(inside.value)} ({percent(inside.low)} to "
        f"{percent(inside.high)}), one further training {percent(inside.next_low)} to "
        f"{percent(inside.next_high)}; at {macs_text(beyond.macs)}, beyond what was measured, "
        f"{percent(beyond.value)} ({percent(beyond.low)} to {percent(beyond.high)})."
        f"{_few(family)}{_ends(law)}"
    )


def _few(family: FamilyLaw) -> str:
    count = len(family.points)
    if count >= _ENOUGH_TRAININGS:
        return ""
    return (
        f" It has {count} trainings, too few to estimate their noise well, so its intervals are "
        "widened; train more seeds."
    )


def _formula(law: AccuracyLaw) -> str:
    return f"{law.floor:.3f} + {law.scale:.3f} (MACs / {macs_text(law.unit)})^-{law.power:.2f}"


def _ends(law: AccuracyLaw) -> str:
    if law.at_edge <= _AT_END:
        return ""
    return (
        f" In {law.at_edge:.0%} of resamples the power is at a limit of its range, so use the "
        "curve, not its constants."
    )
