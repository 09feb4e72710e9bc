"""Equivalence set of the best rule: contrasts, margins, calibration by simulation."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cmt_search.errors import AnalysisError

Floats = NDArray[np.float64]

# Of a difference that a two-sided 5% test finds with power 80%: 1.96 + 0.84.
DETECTABLE_STANDARD_ERRORS = 2.8


@dataclass(frozen=True, slots=True, kw_only=True)
class Contrast:
    """One rule's accuracy less another's, in top1."""

    mean: float
    se: float
    low: float  # 95% interval
    high: float


def contrast(draws: Floats) -> Contrast:
    """Summarise draws (S,) of a difference that was chosen before looking at the data."""
    low, high = np.quantile(draws, [0.025, 0.975])
    return Contrast(
        mean=float(draws.mean()), se=float(draws.std()), low=float(low), high=float(high)
    )


def selected_contrasts(draws: Floats, *, indices: Sequence[int]) -> tuple[Contrast, ...]:
    """Summarise columns that were chosen for how they look among all of `draws` (S, G).

    Their intervals are simultaneous: as wide as needed to hold all G differences at once with
    probability 95%, so they hold whichever was selected (the winner's optimism).
    """
    mean, se = draws.mean(axis=0), draws.std(axis=0)
    varies = se > 1e-9  # the reference less itself is zero, up to floating point
    worst = np.max(np.abs(draws[:, varies] - mean[varies]) / se[varies], axis=1, initial=0.0)
    mean, se = np.where(varies, mean, mean.round(9)), np.where(varies, se, 0.0)
    reach = np.quantile(worst, 0.95) * se
    return tuple(
        Contrast(
            mean=float(mean[i]),
            se=float(se[i]),
            low=float(mean[i] - reach[i]),
            high=float(mean[i] + reach[i]),
        )
        for i in indices
    )


def typical_error(draws: Floats) -> float:
    """Root mean square over all rules of the standard error of their differences (S, G)."""
    return float(np.sqrt(draws.var(axis=0).mean()))


Bools = NDArray[np.bool_]
Word = Literal["tie", "unresolved", "resolved"]

EPS = 0.003  # 0.3 points of top1: a difference that nobody would choose a rule for
CREDIBLE = 0.05  # a rule stays a candidate while P(regret <= eps) is at least this
TIE_COVERAGE = 0.8  # of the feasible rules
CLEAR = 0.01  # level of a test whose outcome is stated as a fact


def simplex_grid(m: int) -> Floats:
    """All shares that are multiples of 1/m.

    Shape: ((m + 1)(m + 2) / 2, 3), each row sums to one.
    """
    steps = [(i, j, m - i - j) for i in range(m + 1) for j in range(m + 1 - i)]
    return np.array(steps, dtype=float) / m


def equivalence_set(draws: Floats, *, eps: float = EPS) -> Bools:
    """E = {s: P(max f - f(s) <= eps) >= 0.05} over joint draws.

    Shape: draws (S, G); result (G,).
    """
    close: Bools = needed_eps(draws) <= eps
    return close


def needed_eps(draws: Floats) -> Floats:
    """The smallest eps with which E holds each rule: the 5% quantile of its regret.

    Shape: draws (S, G); result (G,).
    """
    regret = draws.max(axis=1, keepdims=True) - draws
    last = math.ceil(CREDIBLE * len(draws) - 1e-9) - 1
    quantile: Floats = np.partition(regret, last, axis=0)[last]
    return quantile


def within_eps(draws: Floats, *, eps: float = EPS) -> Floats:
    """P(max f - f(s) <= eps), the map beneath E. Shape: draws (S, G); result (G,)."""
    regret = draws.max(axis=1, keepdims=True) - draws
    probability: Floats = (regret <= eps).mean(axis=0)
    return probability


def flatness(draws: Floats) -> float:
    """Posterior mass at least as far from the fit as "no rule differs"; small: some rule does.

    Far is measured by the largest deviation from the mean rule in standard errors, over all rules
    at once. Shape: draws (S, G).
    """
    relative = draws - draws.mean(axis=1, keepdims=True)
    centre, sd = relative.mean(axis=0), relative.std(axis=0)
    worst = np.max(np.abs(relative - centre) / sd, axis=1)
    return float(np.mean(worst >= np.max(np.abs(centre) / sd)))


def verdict_word(*, coverage: float, error: float, flat: float, eps: float = EPS) -> Word:
    """Name what a study says.

    `coverage` is the feasible area's share that E covers, `error` the standard error of contrasts,
    `flat` the `flatness`.

    "unresolved" goes first: with an error above eps the equivalence set means little in either
    direction. A noisy fit has its maximum in some corner of each draw, so the set shrinks for want
    of data ("resolved" would be false), and where it does not shrink, the rules are not known to
    be equal ("tie" would be false). For the same reason a small set alone does not resolve a study:
    the rules must differ at all, which a flat truth feigns in one of a hundred.
    """
    if not error <= eps:  # also when it is not a number
        return "unresolved"
    if coverage >= TIE_COVERAGE:
        return "tie"
    return "resolved" if flat < CLEAR else "unresolved"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Assessment:
    """Which rules are the best, and how well that is known."""

    best: int  # of the G rules, the highest posterior mean
    error: float  # standard error of contrasts to the reference, or the best's where larger
    flat: float  # see `flatness`
    needed: Floats  # (G,) eps with which the equivalence set holds each rule
    within: Floats  # (G,) P(regret <= eps)
    eps: float  # a difference that nobody would choose a rule for
    reach: float  # eps of the equivalence set: wider where its coverage demands it

    @property
    def equivalent(self) -> Bools:
        """The equivalence set. Shape: (G,)."""
        result: Bools = self.needed <= self.reach
        return result

    @property
    def extent(self) -> float:
        """Of the rules, those in the equivalence set."""
        return float(self.equivalent.mean())

    @property
    def word(self) -> Word:
        """Tie, unresolved or resolved."""
        return verdict_word(coverage=self.extent, error=self.error, flat=self.flat, eps=self.eps)

    @property
    def detectable(self) -> float:
        """Difference that a study of this error finds with power 80%."""
        return DETECTABLE_STANDARD_ERRORS * self.error


def assess(
    effect: Floats, *, reference: Floats, eps: float = EPS, reach: float | None = None
) -> Assessment:
    """Assess the rules that may be best; `reach` is eps where nothing says otherwise.

    Shape: effect (S, G), joint draws; reference (S, 1), of the rule to compare with.
    """
    best = int(effect.mean(axis=0).argmax())
    contrasts = effect - reference
    return Assessment(
        best=best,
        error=max(typical_error(contrasts), float(contrasts[:, best].std())),
        flat=flatness(effect),
        needed=needed_eps(effect),
        within=within_eps(effect, eps=eps),
        eps=eps,
        reach=eps if reach is None else reach,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One rule of an equivalence set, and why this one."""

    shares: tuple[float, float, float]  # depth, width, resolution
    criterion: str  # what was made least, say "activations"
    cost: float  # in the criterion's units
    among: int  # rules of the set with a known cost


def cheapest(shares: ArrayLike, *, cost: ArrayLike, criterion: str) -> Choice:
    """Choose the rule of least `cost`; of equals the first. A cost that is not finite is unknown.

    Shape: shares (n, 3), of the set alone; cost (n,), of each rule's member at the budget.

    Raises:
        AnalysisError: no rule has a known cost.
    """
    rules, costs = np.asarray(shares, float).reshape(-1, 3), np.asarray(cost, float)
    known = np.isfinite(costs)
    if not known.any():
        raise AnalysisError(
            f"none of the {len(costs)} rules to choose from has a finite cost in {criterion}; "
            "choose by another criterion, or at a budget for which they have members"
        )
    least = int(np.where(known, costs, np.inf).argmin())
    depth, width, resolution = rules[least].tolist()
    return Choice(
        shares=(depth, width, resolution),
        criterion=criterion,
        cost=float(costs[least]),
        among=int(known.sum()),
    )
