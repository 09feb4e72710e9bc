"""Repeats of networks, seed noise, and estimates with intervals."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import chi2

from cmt_search.errors import AnalysisError

Floats = NDArray[np.float64]
Ints = NDArray[np.int_]
Bools = NDArray[np.bool_]
Triple = tuple[float, float, float]

NETWORKS_NEEDED = 6  # distinct, at the largest budget: as many as a quadratic has terms
PRIOR_REPEATS = 4.0  # a prior factor of about 1.4 in SD between budgets


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """Values of depth, width and resolution with intervals, of 95% unless stated otherwise."""

    values: Triple
    low: Triple
    high: Triple

    @classmethod
    def from_arrays(cls, values: Floats, *, low: Floats, high: Floats) -> "Estimate":
        """Build from arrays (3,)."""
        return cls(values=to_triple(values), low=to_triple(low), high=to_triple(high))

    @classmethod
    def from_draws(cls, values: Floats, draws: Floats) -> "Estimate":
        """Build from the values (3,) and their draws (S, 3)."""
        low, high = percentile_interval(draws)
        return cls.from_arrays(values, low=low, high=high)


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
    inverse, distance = _mahalanobis(draws)
    return float(np.mean(distance >= centre @ inverse @ centre))


def simultaneous_interval(draws: Floats, *, level: float, rank: int) -> tuple[Floats, Floats]:
    """Return intervals that exclude zero only where `p_value_of_zero` is below 1 - level.

    They cover every linear combination of the first `rank` columns jointly (Scheffe), so also the
    other columns where those are linear combinations of the first.

    Shape: draws (S, p) to two of (p,).
    """
    _, distance = _mahalanobis(draws[:, :rank])
    centre = draws.mean(axis=0)
    half_width = np.sqrt(np.quantile(distance, level)) * draws.std(axis=0, ddof=1)
    return centre - half_width, centre + half_width


def _mahalanobis(draws: Floats) -> tuple[Floats, Floats]:
    """Return the inverse covariance, and the squared distance of each draw from the mean."""
    centred = draws - draws.mean(axis=0)
    inverse: Floats = np.linalg.pinv(np.cov(draws.T), hermitian=True).astype(np.float64)
    return inverse, np.einsum("si,ij,sj->s", centred, inverse, centred)


def to_triple(values: Floats) -> Triple:
    """Convert an array of three to plain numbers."""
    depth, width, resolution = values.tolist()
    return depth, width, resolution


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


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Design:
    """Networks of a study, one row each."""

    budgets: Floats  # (B,) MACs, ascending
    log_macs_ratios: Floats  # (B,) mean L of each budget's networks
    shares: Floats  # (n, 3) realised
    log_macs_ratio: Floats  # (n,) L
    level: Ints  # (n,) index of its budget
    count: Floats  # (n,) measurements

    @property
    def u(self) -> Floats:
        """L over that of the largest budget. Shape: (n,)."""
        ratio: Floats = self.log_macs_ratio / self.log_macs_ratios[-1]
        return ratio

    @property
    def dof(self) -> Floats:
        """Measurements beyond the first of each network. Shape: (B,)."""
        return np.bincount(self.level, weights=self.count - 1).astype(float)


def reduce_repeats(
    accuracy: ArrayLike,
    *,
    shares: ArrayLike,
    log_macs_ratio: ArrayLike,
    budget: ArrayLike,
    network: Sequence[Hashable],
) -> tuple[Design, Floats, Floats]:
    """Reduce measurements, as in `fit_gaussian_process`, to a design and sufficient statistics.

    These are the networks' means (n,) and, by budget, sums of squares around them (B,).
    """
    y, s = np.asarray(accuracy, float), np.asarray(shares, float).reshape(-1, 3)
    L, macs = np.asarray(log_macs_ratio, float), np.asarray(budget, float)
    label, first = label_groups(network)
    budgets, level = np.unique(macs[first], return_inverse=True)
    _check_design(budgets, macs[first], L)
    log_macs_ratios = np.bincount(level, weights=L[first]) / np.bincount(level)
    count = np.bincount(label).astype(float)
    mean = np.bincount(label, weights=y) / count
    squares = np.bincount(label, weights=(y - mean[label]) ** 2)
    design = Design(
        budgets=budgets,
        log_macs_ratios=log_macs_ratios,
        shares=s[first],
        log_macs_ratio=L[first],
        level=level,
        count=count,
    )
    return design, mean, np.bincount(level, weights=squares).astype(float)


def _check_design(budgets: Floats, budget_of_network: Floats, log_macs_ratio: Floats) -> None:
    count = int(np.sum(budget_of_network == budgets[-1])) if budgets.size else 0
    if count < NETWORKS_NEEDED:
        where = f" ({budgets[-1]:.4g} MACs)" if budgets.size else ""
        raise AnalysisError(
            f"a model of the triangle needs {NETWORKS_NEEDED} distinct networks at the largest "
            f"budget{where}, but the study has {count}; run at least {NETWORKS_NEEDED - count} "
            "more trials"
        )
    if log_macs_ratio.min() <= 0:
        raise AnalysisError(
            "a measured network is not larger than the base, where all rules coincide; "
            "use budgets above the base's MACs"
        )
