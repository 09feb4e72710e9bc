"""Noise between trainings of one network, and estimates with intervals."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import chi2

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


PRIOR_REPEATS = 4.0  # rungs differ by a factor of about 1.4 in SD before anything is repeated


@dataclass(frozen=True, slots=True, kw_only=True)
class Noise:
    """Pooled standard deviation between seeds, in the units of what was measured."""

    sd: float
    dof: int  # measurements beyond the first of each network
    low: float  # 95% interval
    high: float


def pooled_noise(values: ArrayLike, *, groups: Sequence[Hashable]) -> Noise | None:
    """Pool the variance within groups of repeated measurements; None without a repeat."""
    total, dof = within_groups(values, groups=groups)
    if dof == 0:
        return None
    low, high = np.sqrt(total / chi2.ppf([0.975, 0.025], dof))
    return Noise(sd=float(np.sqrt(total / dof)), dof=dof, low=float(low), high=float(high))


def relative_noise(within: ArrayLike, *, freedom: ArrayLike) -> Floats:
    """SD between seeds of each rung over the pooled SD, shrunk towards one.

    `within` are squares around the networks' means, `freedom` the measurements beyond the first.
    Shape: (B,) in and out.
    """
    squares, dof = np.asarray(within, float), np.asarray(freedom, float)
    if squares.sum() == 0:  # nothing was repeated, or repeats are all alike
        return np.ones_like(squares)
    pooled = squares.sum() / dof.sum()
    shrunk: Floats = np.sqrt((PRIOR_REPEATS + squares / pooled) / (PRIOR_REPEATS + dof))
    return shrunk


def within_groups(values: ArrayLike, *, groups: Sequence[Hashable]) -> tuple[float, int]:
    """Sum of squares around the groups' means, and its degrees of freedom."""
    y = np.asarray(values, dtype=float)
    if y.size == 0:
        return 0.0, 0
    label, _ = label_groups(groups)
    count = np.bincount(label)
    mean = np.bincount(label, weights=y) / count
    return float(np.sum((y - mean[label]) ** 2)), int(y.size - count.size)


def label_groups(groups: Sequence[Hashable]) -> tuple[NDArray[np.int_], NDArray[np.int_]]:
    """Number the groups in order of appearance; also the row at which each appears first."""
    number = {group: i for i, group in enumerate(dict.fromkeys(groups))}
    label = np.array([number[group] for group in groups], dtype=int)
    return label, np.unique(label, return_index=True)[1]
