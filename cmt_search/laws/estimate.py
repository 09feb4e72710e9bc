"""Estimates from draws: intervals, and how far from nothing they are."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Triple = tuple[float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """Three numbers, of depth, width and resolution, with 95% intervals."""

    values: Triple
    low: Triple
    high: Triple

    @classmethod
    def of(cls, rows: Floats) -> "Estimate":
        """From the fit to the data, the first row, and to resamples. Shape: (1 + S, 3)."""
        low, high = interval(rows[1:])
        return cls(values=triple(rows[0]), low=triple(low), high=triple(high))


def interval(draws: Floats) -> tuple[Floats, Floats]:
    """95% percentile interval of draws (S, ...)."""
    low, high = np.quantile(draws, [0.025, 0.975], axis=0)
    return low, high


def tail_of_zero(draws: Floats) -> float:
    """Mass of the draws (S, p) at least as far from their centre as zero is; small: not zero.

    Far is in standard deviations of the draws, all p dimensions together (Mahalanobis).
    """
    centre = draws.mean(axis=0)
    inverse = np.linalg.pinv(np.cov(draws.T), hermitian=True)
    far = np.einsum("si,ij,sj->s", draws - centre, inverse, draws - centre)
    return float(np.mean(far >= centre @ inverse @ centre))


def triple(values: Floats) -> Triple:
    """An array of three as plain numbers."""
    d, w, r = (float(value) for value in values)
    return d, w, r
