"""Sentences on the scaling laws of a study."""

from collections.abc import Iterator, Sequence

from cmt_search.analysis.law_values import (
    BaseLaw,
    FamilyLaw,
    FitFailure,
    ProposedBase,
    StudyLaws,
)
from cmt_search.analysis.text import p_value_text
from cmt_search.arch import Arch
from cmt_search.format import macs_text, percent, points, sentence
from cmt_search.scaling.shares import DIMENSIONS
from cmt_search.stats import (
    ALPHA,
    SMALLEST_EFFECT,
    AccuracyLaw,
    Estimate,
    GradientTest,
    PowerLaws,
    RuleEstimate,
)

_AT_END = 0.05  # of the resamples; more than that is worth a warning
# Of a curve. Fewer know their own noise so badly that intervals are several times as wide.
_ENOUGH_TRAININGS = 8


def laws_text(laws: StudyLaws) -> tuple[str, ...]:
    """Describe every law in a sentence or two; a refused one gives its reason."""
    return (
        *(_base(laws.base) if laws.base else ()),
        _power(laws.power, shapes=laws.base is None),
        *_curves(laws.families),
        _bootstrap(laws),
    )


def estimate_text(estimate: Estimate, *, intervals: bool = True) -> str:
    """Shares, with their intervals or without."""
    rows = zip(DIMENSIONS, estimate.values, estimate.low, estimate.high, strict=True)
    return ", ".join(
        f"{name} {value:.2f}" + (f" ({low:.2f} to {high:.2f})" if intervals else "")
        for name, value, low, high in rows
    )


def network_text(arch: Arch) -> str:
    """A network's sizes as a phrase."""
    depths, widths = ("-".join(map(str, sizes)) for sizes in _sizes(arch))
    return f"{depths} blocks of {widths} channels at {arch.resolution} px"


def estimates(power: PowerLaws) -> Iterator[tuple[str, str, Estimate]]:
    """Both estimators' shares: which shares, by which estimator, and the estimate."""
    by = (("the best shapes", power.by_optima), ("the parametric law", power.by_law))
    for estimator, rule in by:
        yield "local", estimator, rule.local
        if rule.average is not None:
            yield "average", estimator, rule.average


def _sizes(arch: Arch) -> tuple[Sequence[int], Sequence[int]]:
    return [s.depth for s in arch.stages], [s.width for s in arch.stages]


def _base(base: BaseLaw | FitFailure) -> tuple[str, ...]:
    if isinstance(base, FitFailure):
        return (f"Gradient at the base: not tested. {sentence(base.reason)}",)
    test = base.gradient_test
    scale, gain = test.log_macs_ratio, test.gains
    rows = zip(DIMENSIONS, gain.values, gain.low, gain.high, strict=True)
    gains = ", ".join(
        f"{name} {points(value / scale, sign=True)} ({_interval(low / scale, high / scale)})"
        for name, value, low, high in rows
    )
    text = (
        "Gradient at the base: first-order gains per unit of ln MACs, in percentage points less "
        f"the mean of the three, with simultaneous {1 - ALPHA:.0%} intervals: {gains}. Test of "
        f"equal gains at the {ALPHA:.0%} level: {p_value_text(test.p_value)}; {_balance(test)}."
    )
    return (text, *(_proposal(base.proposal) if base.proposal else ()))


def _balance(test: GradientTest) -> str:
    if test.unbalanced:
        return "the base is unbalanced"
    if test.p_value < ALPHA:
        return (
            "the gains differ, but by no more than the smallest effect of interest "
            f"({points(SMALLEST_EFFECT)} pp), so the base counts as balanced"
        )
    return "the base is not shown to be unbalanced"


def _proposal(proposal: ProposedBase) -> tuple[str, str]:
    correction = proposal.correction
    factors = ", ".join(
        f"{name} by {factor:.2f}" for name, factor in zip(DIMENSIONS, proposal.factors, strict=True)
    )
    why = "where the gains are equal to second order"
    if correction.order == 1:
        why = "a step towards the larger gain, as the curvature is not known well enough"
    elif correction.shortened:
        why = "towards equal gains, limited to the measured distance"
    move = (
        f"Base correction: at the base's own MACs, multiply {factors} ({why}); expected gain "
        f"{points(correction.gain, sign=True)} pp."
    )
    if proposal.arch is None:
        return move, (
            "Proposed base: no network on the space's grid, other than the base, is near; use "
            "finer steps or wider ranges."
        )
    return move, (
        f"Proposed base: {network_text(proposal.arch)}, {macs_text(proposal.macs or 0)}; set it "
        "as `base: {arch: ...}` in a copy of the space file and search again."
    )


def _power(power: PowerLaws | FitFailure, *, shapes: bool) -> str:
    if isinstance(power, FitFailure):
        fitted = f"Power laws: not fitted. {sentence(power.reason)}"
        if shapes:
            return f"{fitted} Until then no rule follows from the shapes."
        return (
            f"{fitted} Until then the best rule only describes the average slope between base and "
            "largest budget, not how to scale further."
        )
    identified = not power.reasons
    shares = "; ".join(
        _rule(name, rule, intervals=identified)
        for name, rule in (("the best shapes", power.by_optima), ("the law", power.by_law))
    )
    if identified:
        return f"Power laws: identified, both estimators agree. Shares of growth are {shares}."
    return (
        f"Power laws: not identified, because {'; '.join(power.reasons)}. No rule follows from the "
        f"estimates, which are: {shares}."
    )


def _rule(estimator: str, rule: RuleEstimate, *, intervals: bool) -> str:
    local = f"by {estimator}, local slope {estimate_text(rule.local, intervals=intervals)}"
    if rule.average is None:
        return f"{local} (no average slope: the largest budget is below twice the base)"
    return (
        f"{local}, average slope from the base {estimate_text(rule.average, intervals=intervals)}"
    )


def _bootstrap(laws: StudyLaws) -> str:
    fitted = "power laws and curves" if laws.base else "power laws"
    units = "networks, seeds and validation images" if laws.images else "networks and seeds"
    images = "" if laws.images else "; the images that were right are not stored"
    return (
        f"Intervals of {fitted} are a bootstrap over {units}{images} ({laws.trainings} trainings "
        f"of {laws.networks} networks); failed resamples: {_failures(laws)}."
    )


def _failures(laws: StudyLaws) -> int:
    fits = [laws.power, *(family.law for family in laws.families)]
    return sum(fit.failed for fit in fits if not isinstance(fit, FitFailure))


def _interval(low: float, high: float) -> str:
    return f"{points(low, sign=True)} to {points(high, sign=True)}"


def _curves(families: Sequence[FamilyLaw]) -> Iterator[str]:
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
