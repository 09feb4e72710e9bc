"""Sentences on the scaling laws of a study."""

from collections.abc import Iterator, Sequence

from cmt_search.analysis.law_values import (
    BaseLaw,
    FitFailure,
    ProposedBase,
    StudyLaws,
)
from cmt_search.analysis.wording import p_value_text
from cmt_search.analysis.wording_curves import curves_text
from cmt_search.arch import Arch
from cmt_search.format import macs_text, points, sentence
from cmt_search.scaling.shares import DIMENSIONS
from cmt_search.stats import (
    ALPHA,
    SMALLEST_EFFECT,
    Estimate,
    GradientTest,
    PowerLaws,
    RuleEstimate,
)


def laws_text(laws: StudyLaws) -> tuple[str, ...]:
    """Describe every law in a sentence or two; a refused one gives its reason."""
    return (
        *(_base(laws.base) if laws.base else ()),
        _power(laws.power, shapes=laws.base is None),
        *curves_text(laws.families),
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
        f"{points(correction.gain, sign=True)} points."
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
