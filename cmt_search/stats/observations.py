"""Design and sufficient statistics of the trainings of a rule search."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from cmt_search.errors import AnalysisError
from cmt_search.stats.noise import Floats, Ints, label_groups

NETWORKS_NEEDED = 6  # distinct, at the largest budget: as many as a quadratic has terms


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Design:
    """What was trained: one row per network."""

    budgets: Floats  # (B,) MACs, ascending
    log_macs_ratios: Floats  # (B,) mean L of each budget's networks
    shares: Floats  # (n, 3) realised
    u: Floats  # (n,) L over that of the largest budget
    level: Ints  # (n,) index of its budget
    count: Floats  # (n,) measurements

    @property
    def dof(self) -> Floats:
        """Measurements beyond the first of each network. Shape: (B,)."""
        return np.bincount(self.level, weights=self.count - 1).astype(float)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Outcome:
    """Sufficient statistics of the measurements, with one noise per budget."""

    mean: Floats  # (n,) accuracy of each network
    within: Floats  # (B,) sums of squares around the networks' means


def reduce_repeats(
    accuracy: ArrayLike,
    *,
    shares: ArrayLike,
    log_macs_ratio: ArrayLike,
    budget: ArrayLike,
    network: Sequence[Hashable],
) -> tuple[Design, Outcome]:
    """Reduce measurements to networks; arguments as in `fit_gaussian_process`."""
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
        u=L[first] / log_macs_ratios[-1],
        level=level,
        count=count,
    )
    within = np.bincount(level, weights=squares).astype(float)
    return design, Outcome(mean=mean, within=within)


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
            "a measured network is no larger than the base, where all rules coincide; "
            "use budgets above the base's MACs"
        )
