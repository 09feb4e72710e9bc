"""What the laws of scaling say, in plain words."""

from collections.abc import Iterator, Sequence

from cmt_search.analysis.law_values import (
    BaseLaw,
    BaseRepair,
    QuadraticCheck,
    Refused,
    StudyLaws,
)
from cmt_search.analysis.wording import macs_text, percent, points, sentence, shares_text
from cmt_search.analysis.wording_curves import curves_text
from cmt_search.arch import Arch
from cmt_search.scaling.shares import DIMENSIONS
from cmt_search.stats import Estimate, PowerLaws, RuleEstimate


def laws_text(laws: StudyLaws) -> tuple[str, ...]:
    """What the laws say, a sentence or two each; a refused one says why."""
    return (
        *((_quadratic(laws.quadratic),) if laws.quadratic else ()),
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
        if rule.secant is not None:
            yield "secant", estimator, rule.secant


def _sizes(arch: Arch) -> tuple[Sequence[int], Sequence[int]]:
    return [s.depth for s in arch.stages], [s.width for s in arch.stages]


def _quadratic(check: QuadraticCheck | Refused) -> str:
    if isinstance(check, Refused):
        return f"Quadratic check: not made. {sentence(check.reason)}"
    d = check.difference
    agreement = (
        "It lies among the equals that the Gaussian process finds: both answers agree."
        if check.agrees
        else "It lies outside the equals that the Gaussian process finds: the answer depends on "
        "the form of the response, so measure more rules before building on it."
    )
    return (
        f"Quadratic check: the best rule by a quadratic over the triangle "
        f"({shares_text(check.best)}) is predicted {points(d.mean, sign=True)} points against the "
        f"paper's rule, 95% interval {_interval(d.low, d.high)}. {agreement}"
    )


def _base(base: BaseLaw | Refused) -> tuple[str, ...]:
    if isinstance(base, Refused):
        return (f"Base balance: not tested. {sentence(base.reason)}",)
    growth, found = base.balance.growth, base.balance
    rows = zip(DIMENSIONS, found.per_log_macs, found.low, found.high, strict=True)
    gains = ", ".join(
        f"{name} {points(gain, sign=True)} ({_interval(low / growth, high / growth)})"
        for name, gain, low, high in rows
    )
    if found.unbalanced:
        word = (
            f"They differ (equal gains have a tail of {_tail(found.tail)}): the base is unbalanced."
        )
    elif base.repair is not None:
        word = (
            "Least squares alone cannot tell them apart; the response surface, which expects small "
            "gains, can."
        )
    else:
        word = f"They are not shown to differ: equal gains have a tail of {_tail(found.tail)}."
    text = (
        "Base balance: what a unit of ln MACs gains in each dimension at first order, in points "
        f"less the mean of the three: {gains}. {word}"
    )
    return (text, *(_repair(base.repair) if base.repair else ()))


def _repair(repair: BaseRepair) -> tuple[str, str]:
    factors = ", ".join(
        f"{name} by {factor:.2f}" for name, factor in zip(DIMENSIONS, repair.factors, strict=True)
    )
    why = "where the gains balance to second order"
    if repair.move.order == 1:
        why = "a step towards the larger gain, as the curvature is not known well enough"
    elif repair.move.shortened:
        why = "towards where the gains balance, cut short as that lies farther than was measured"
    move = (
        f"Base repair: at the base's own MACs, multiply {factors} ({why}); expected gain "
        f"{points(repair.move.gain, sign=True)} points."
    )
    if repair.recentred is None:
        return move, (
            "Recentred base: no network on the space's grid, other than the base, lies there; use "
            "finer steps or wider ranges."
        )
    return move, (
        f"Recentred base: {network_text(repair.recentred)}, {macs_text(repair.macs or 0)}; give it "
        "as `base: {arch: ...}` in a copy of the space file and search again."
    )


def _power(power: PowerLaws | Refused, *, shapes: bool) -> str:
    if isinstance(power, Refused):
        fitted = f"Power laws: not fitted. {sentence(power.reason)}"
        if shapes:
            return f"{fitted} Until then no rule follows from the shapes."
        return (
            f"{fitted} Until then a best rule is a "
            "secant, from the base to the largest budget, and the local slope is unknown."
        )
    found = not power.reasons
    said = "; ".join(
        _rule(name, rule, intervals=found)
        for name, rule in (("the best shapes", power.by_optima), ("the law", power.by_law))
    )
    if found:
        return f"Power laws: identified, both estimators agree. Shares of growth are {said}."
    return (
        f"Power laws: not identified, because {'; '.join(power.reasons)}. No rule follows from the "
        f"estimates, which are: {said}."
    )


def _rule(estimator: str, rule: RuleEstimate, *, intervals: bool) -> str:
    local = f"by {estimator}, local slope {estimate_text(rule.local, intervals=intervals)}"
    if rule.secant is None:
        return f"{local} (no secant: the largest budget is below twice the base)"
    return f"{local}, secant from the base {estimate_text(rule.secant, intervals=intervals)}"


def _bootstrap(laws: StudyLaws) -> str:
    images = "" if laws.images else "; which images were right is not known, so images are not"
    fitted = "balance, power laws and curves" if laws.base else "power laws"
    redrawn = "networks, seeds and validation images" if laws.images else "networks and seeds"
    return (
        f"Intervals of {fitted} redraw {redrawn}{images} ({laws.trainings} trainings of "
        f"{laws.networks} networks); resamples without a fit: {_failures(laws)}."
    )


def _failures(laws: StudyLaws) -> int:
    fits = [laws.base, laws.power, *(family.law for family in laws.families)]
    return sum(fit.failed for fit in fits if fit is not None and not isinstance(fit, Refused))


def _interval(low: float, high: float) -> str:
    return f"{points(low, sign=True)} to {points(high, sign=True)}"


def _tail(mass: float) -> str:
    return "less than 0.1%" if mass < 0.001 else percent(mass)
