"""Contrasts of rules, the equivalence set of the best rule, and what a study concludes from them.

All functions take joint posterior draws of the rules' accuracies, shape (S, G) for S draws of G
rules, in top1.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from cmt_search.stats.noise import Bools, Floats, percentile_interval

Conclusion = Literal["tie", "unresolved", "resolved"]

SMALLEST_EFFECT = 0.003  # 0.3 percentage points of top1: smallest effect of interest
CREDIBLE = 0.05  # a rule is a candidate while P(regret <= margin) is at least this
TIE_AREA = 0.8  # part of the feasible rules that makes a tie
ALPHA = 0.01  # level of the tests
DETECTABLE_STANDARD_ERRORS = 2.8  # two-sided 5% test, power 80%: 1.96 + 0.84


@dataclass(frozen=True, slots=True, kw_only=True)
class Contrast:
    """Difference in accuracy between two rules, in top1."""

    mean: float
    se: float
    low: float  # 95% interval
    high: float


def summarize_contrast(draws: Floats) -> Contrast:
    """Summarise draws (S,) of a contrast that was chosen before looking at the data."""
    low, high = percentile_interval(draws)
    return Contrast(
        mean=float(draws.mean()), se=float(draws.std()), low=float(low), high=float(high)
    )


def simultaneous_contrasts(draws: Floats, *, indices: Sequence[int]) -> tuple[Contrast, ...]:
    """Summarise the columns `indices` with intervals that cover all columns jointly with 95%.

    They hold for a column that was selected by its value, such as the best rule.
    """
    mean, se = draws.mean(axis=0), draws.std(axis=0)
    varies = se > 1e-9  # the reference less itself is zero up to rounding
    worst = np.max(np.abs(draws[:, varies] - mean[varies]) / se[varies], axis=1, initial=0.0)
    mean, se = np.where(varies, mean, mean.round(9)), np.where(varies, se, 0.0)
    half_width = np.quantile(worst, 0.95) * se
    rows = np.stack([mean, se, mean - half_width, mean + half_width], axis=1)[[*indices]].tolist()
    return tuple(Contrast(mean=m, se=s, low=low, high=high) for m, s, low, high in rows)


def rms_standard_error(draws: Floats) -> float:
    """Return the root mean square over rules of the standard error of contrasts (S, G)."""
    return float(np.sqrt(draws.var(axis=0).mean()))


def simplex_grid(m: int) -> Floats:
    """Return all shares that are multiples of 1/m.

    Shape: ((m + 1)(m + 2) / 2, 3); each row sums to one.
    """
    steps = [(i, j, m - i - j) for i in range(m + 1) for j in range(m + 1 - i)]
    return np.array(steps, dtype=float) / m


def required_margin(draws: Floats) -> Floats:
    """Return the smallest margin whose equivalence set holds each rule. Shape: (S, G) to (G,).

    It is the 5% quantile of the rule's regret.
    """
    regret = draws.max(axis=1, keepdims=True) - draws
    last = math.ceil(CREDIBLE * len(draws) - 1e-9) - 1
    quantile: Floats = np.partition(regret, last, axis=0)[last]
    return quantile


def equivalence_set(draws: Floats, *, margin: float = SMALLEST_EFFECT) -> Bools:
    """Return which rules have P(max f - f(s) <= margin) >= 0.05. Shape: (S, G) to (G,)."""
    return required_margin(draws) <= margin


def flatness_p_value(draws: Floats) -> float:
    """Return the posterior tail probability of "no rule differs". Small values reject it.

    The distance is the largest deviation from the mean rule in standard errors, over all rules.
    """
    relative = draws - draws.mean(axis=1, keepdims=True)
    centre, sd = relative.mean(axis=0), relative.std(axis=0)
    worst = np.max(np.abs(relative - centre) / sd, axis=1)
    return float(np.mean(worst >= np.max(np.abs(centre) / sd)))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Assessment:
    """The best of G rules and its equivalence set."""

    best: int  # highest posterior mean
    error: float  # standard error of contrasts to the reference; the best's where larger
    p_flat: float  # see `flatness_p_value`
    required_margin: Floats  # (G,) see `required_margin`
    margin: float  # of the equivalence set: at least the smallest effect

    @property
    def equivalent(self) -> Bools:
        """The equivalence set. Shape: (G,)."""
        return self.required_margin <= self.margin

    @property
    def area(self) -> float:
        """Part of the rules that is in the equivalence set."""
        return float(self.equivalent.mean())

    @property
    def status(self) -> Conclusion:
        """Conclude; with an error above the smallest effect always "unresolved".

        Then a large set does not show equality, and a small one does not show a difference, since
        the maximum of a noisy fit moves between corners; so a small one also needs `p_flat`.
        """
        if not self.error <= SMALLEST_EFFECT:  # also NaN
            return "unresolved"
        if self.area >= TIE_AREA:
            return "tie"
        return "resolved" if self.p_flat < ALPHA else "unresolved"

    @property
    def detectable(self) -> float:
        """Difference that a study of this error finds with power 80%."""
        return DETECTABLE_STANDARD_ERRORS * self.error


def assess(effect: Floats, *, reference: Floats, margin: float = SMALLEST_EFFECT) -> Assessment:
    """Assess the feasible rules.

    Shape: effect (S, G), joint draws; reference (S, 1), of the rule to compare with.
    """
    best = int(effect.mean(axis=0).argmax())
    contrasts = effect - reference
    return Assessment(
        best=best,
        error=max(rms_standard_error(contrasts), float(contrasts[:, best].std())),
        p_flat=flatness_p_value(effect),
        required_margin=required_margin(effect),
        margin=margin,
    )
