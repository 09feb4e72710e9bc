"""Seed noise, and estimates with intervals."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import chi2

Floats = NDArray[np.float64]
Ints = NDArray[np.int_]
Bools = NDArray[np.bool_]
Triple = tuple[float, float, float]

PRIOR_REPEATS = 4.0  # a prior factor of about 1.4 in SD between budgets


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """Depth, width and resolution with 95% intervals."""

    values: Triple
    low: Triple
    high: Triple

    @classmethod
    def from_resamples(cls, rows: Floats) -> "Estimate":
        """Build from the fit to the data, the first row, and to resamples. Shape: (1 + S, 3)."""
        low, high = percentile_interval(rows[1:])
        return cls(values=to_triple(rows[0]), low=to_triple(low), high=to_triple(high))


@dataclass(frozen=True, slots=True, kw_only=True)
class Noise:
    """Pooled standard deviation between seeds, in the units of what was measured."""

    sd: float
    dof: int  # measurements beyond the first of each network
    low: float  # 95% interval
    high: float


def percentile_interval(draws: Floats) -> tuple[Floats, Floats]:
    """Return the 95% percentile interval of draws. Shape: (S, ...) to two of (...)."""
    low, high = np.quantile(draws, [0.025, 0.975], axis=0)
    return low, high


def p_value_of_zero(draws: Floats) -> float:
    """Return the tail probability of zero, by Mahalanobis distance. Small values reject zero.

    Shape: draws (S, p).
    """
    centre = draws.mean(axis=0)
    inverse = np.linalg.pinv(np.cov(draws.T), hermitian=True)
    distance = np.einsum("si,ij,sj->s", draws - centre, inverse, draws - centre)
    return float(np.mean(distance >= centre @ inverse @ centre))


def to_triple(values: Floats) -> Triple:
    """Convert an array of three to plain numbers."""
    d, w, r = (float(value) for value in values)
    return d, w, r


def pooled_noise(values: ArrayLike, *, groups: Sequence[Hashable]) -> Noise | None:
    """Pool the variance within groups of repeated measurements; None without a repeat.

    Source: the interval is that of a variance, by the chi-squared distribution.
    """
    y = np.asarray(values, dtype=float)
    label, first = label_groups(groups)
    dof = len(y) - len(first)
    if dof == 0:
        return None
    mean = np.bincount(label, weights=y) / np.bincount(label)
    squares = float(np.sum((y - mean[label]) ** 2))
    low, high = np.sqrt(squares / chi2.ppf([0.975, 0.025], dof))
    return Noise(sd=float(np.sqrt(squares / dof)), dof=dof, low=float(low), high=float(high))


def relative_noise(within: ArrayLike, *, dof: ArrayLike) -> Floats:
    """Return each budget's SD between seeds over the pooled SD, shrunk towards one.

    `within` are sums of squares around the networks' means, `dof` the measurements beyond the
    first. Shape: (B,) in and out.
    """
    squares, free = np.asarray(within, float), np.asarray(dof, float)
    if squares.sum() == 0:  # no repeats, or identical ones
        return np.ones_like(squares)
    pooled = squares.sum() / free.sum()
    shrunk: Floats = np.sqrt((PRIOR_REPEATS + squares / pooled) / (PRIOR_REPEATS + free))
    return shrunk


def label_groups(groups: Sequence[Hashable]) -> tuple[Ints, Ints]:
    """Number groups in order of appearance; return also the row where each appears first."""
    number = {group: i for i, group in enumerate(dict.fromkeys(groups))}
    label = np.array([number[group] for group in groups], dtype=int)
    return label, np.unique(label, return_index=True)[1]
