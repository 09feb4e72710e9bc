"""Differences between rules, from joint posterior draws."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

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
