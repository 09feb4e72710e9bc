"""Response model: accuracy over the triangle of shares, jointly over budgets."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cmt_search.errors import AnalysisError
from cmt_search.stats.noise import label_groups

Floats = NDArray[np.float64]
Ints = NDArray[np.int_]

NEEDED = 6  # terms of a quadratic over the triangle


class Response(Protocol):
    """Joint posterior draws of accuracy over the triangle of shares and the growth of compute."""

    @property
    def budgets(self) -> Floats:
        """MACs, ascending. Shape: (B,)."""

    @property
    def growths(self) -> Floats:
        """Mean L = ln(MACs / base MACs) of each budget's networks. Shape: (B,)."""

    @property
    def first(self) -> Floats:
        """First-order gains v, in top1 at the largest budget. Shape: (S, 3)."""

    @property
    def second(self) -> Floats:
        """Curvature A at the base, likewise: dd, ww, rr, dw, dr, wr. Shape: (S, 6)."""

    @property
    def noise(self) -> Floats:
        """SD between seeds, pooled over budgets. Shape: (S,)."""

    @property
    def lattice(self) -> Floats:
        """SD of networks around the response. Shape: (S,)."""

    @property
    def networks(self) -> int:
        """Distinct networks fitted."""

    def effect(self, shares: ArrayLike, *, growth: float | None = None) -> Floats:
        """Draws of accuracy relative to the centroid; `growth` L defaults to the largest budget.

        Shape: shares (n, 3) or (3,); result (S, n).
        """

    def draws(self, shares: ArrayLike, *, growth: float) -> Floats:
        """Draws of the accuracy of rules at `growth` L within the budgets measured.

        Shape: shares (n, 3) or (3,); result (S, n).
        """


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Design:
    """What was trained, whatever came of it: one row per network."""

    budgets: Floats  # (B,) MACs, ascending
    growths: Floats  # (B,) mean L of each budget's networks
    shares: Floats  # (n, 3) realised
    u: Floats  # (n,) L over that of the largest budget
    level: Ints  # (n,) index of its budget
    count: Floats  # (n,) measurements

    @property
    def freedom(self) -> Floats:
        """Measurements beyond the first of each network. Shape: (B,)."""
        return np.bincount(self.level, weights=self.count - 1).astype(float)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Outcome:
    """What came of it; sufficient for a model with one noise per budget."""

    mean: Floats  # (n,) accuracy of each network
    within: Floats  # (B,) squares around the networks' means


def reduced(
    accuracy: ArrayLike,
    *,
    shares: ArrayLike,
    growth: ArrayLike,
    budget: ArrayLike,
    network: Sequence[Hashable],
) -> tuple[Design, Outcome]:
    """Reduce measurements, one row each, to networks; rows of one `network` are repeats.

    Shape: accuracy, growth, budget (N,); shares (N, 3), realised.
    Units: accuracy in 0..1; growth is ln(MACs / base MACs); budget in MACs.

    Raises:
        AnalysisError: too few distinct networks, or a network no larger than the base.
    """
    y, s = np.asarray(accuracy, float), np.asarray(shares, float).reshape(-1, 3)
    L, asked = np.asarray(growth, float), np.asarray(budget, float)
    label, first = label_groups(network)
    budgets, level = np.unique(asked[first], return_inverse=True)
    _check(budgets, asked[first], L)
    growths = np.bincount(level, weights=L[first]) / np.bincount(level)
    count = np.bincount(label).astype(float)
    mean = np.bincount(label, weights=y) / count
    squares = np.bincount(label, weights=(y - mean[label]) ** 2)
    design = Design(
        budgets=budgets,
        growths=growths,
        shares=s[first],
        u=L[first] / growths[-1],
        level=level,
        count=count,
    )
    within = np.bincount(level, weights=squares).astype(float)
    return design, Outcome(mean=mean, within=within)


def level_at(levels: Floats, *, growths: Floats, growth: float) -> Floats:
    """Levels (S, B) of the budgets, interpolated to `growth`. Shape: result (S, 1).

    Raises:
        AnalysisError: `growth` lies outside the measured budgets.
    """
    low, high = growths[0], growths[-1]
    if not low - 0.02 <= growth <= high + 0.02:
        raise AnalysisError(
            f"growth={growth:.3g} is outside the measured {low:.3g} to {high:.3g}; "
            "ask within it, or measure that budget"
        )
    weights = [np.interp(growth, growths, unit) for unit in np.eye(len(growths))]
    at: Floats = (levels @ weights)[:, None]
    return at


def _check(budgets: Floats, budget_of_network: Floats, growth: Floats) -> None:
    held = int(np.sum(budget_of_network == budgets[-1])) if budgets.size else 0
    if held < NEEDED:
        where = f" ({budgets[-1]:.4g} MACs)" if budgets.size else ""
        raise AnalysisError(
            f"the surface over the triangle needs {NEEDED} distinct networks at the largest "
            f"budget{where}, and the study holds {held}; run at least {NEEDED - held} more trials"
        )
    if growth.min() <= 0:
        raise AnalysisError(
            "a measured network is no larger than the base, where rules cannot be told apart; "
            "use budgets above the base's MACs"
        )
