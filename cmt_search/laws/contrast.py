"""Differences between rules, from joint posterior draws."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# Two-sided 5% and power 80%: 1.96 + 0.84 standard errors.
DETECTABLE_STANDARD_ERRORS = 2.8


@dataclass(frozen=True, slots=True, kw_only=True)
class Contrast:
    """One rule's accuracy less another's, in top1."""

    mean: float
    se: float
    low: float  # 95% interval
    high: float

    @property
    def detectable(self) -> float:
        """Smallest true difference that a two-sided 5% test finds with power 80%."""
        return DETECTABLE_STANDARD_ERRORS * self.se


def contrast(draws: Floats) -> Contrast:
    """Summarise draws (S,) of a difference that was chosen before looking at the data."""
    low, high = np.quantile(draws, [0.025, 0.975])
    return Contrast(
        mean=float(draws.mean()), se=float(draws.std()), low=float(low), high=float(high)
    )


def selected_contrast(draws: Floats, *, index: int) -> Contrast:
    """Summarise column `index`, which was chosen for how it looks among all of `draws` (S, G).

    Its interval is simultaneous: it is as wide as needed to hold all G differences at once with
    probability 95%, so it holds whichever was selected (the winner's optimism).
    """
    mean, se = draws.mean(axis=0), draws.std(axis=0)
    varies = se > 1e-9  # the reference minus itself is exactly zero
    if not varies[index]:
        same = float(mean[index])
        return Contrast(mean=same, se=0.0, low=same, high=same)
    worst = np.max(np.abs(draws[:, varies] - mean[varies]) / se[varies], axis=1)
    reach = np.quantile(worst, 0.95) * se[index]
    centre = mean[index]
    return Contrast(
        mean=float(centre),
        se=float(se[index]),
        low=float(centre - reach),
        high=float(centre + reach),
    )


def typical_error(draws: Floats) -> float:
    """Root mean square over all rules of the standard error of their differences (S, G)."""
    return float(np.sqrt(draws.var(axis=0).mean()))
