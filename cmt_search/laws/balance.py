"""Whether a base gains equally from depth, width and resolution: the first-order test."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cmt_search.laws.equivalence import CLEAR, EPS

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Balance:
    """First-order gains v_i less their mean, in top1 at the largest budget."""

    gains: tuple[float, float, float]  # depth, width, resolution
    low: tuple[float, float, float]  # 95% intervals
    high: tuple[float, float, float]
    tail: float  # posterior mass at least as far out as equality; small: not equal
    unbalanced: bool  # tail below 1%, and the gains differ by more than eps

    @property
    def leader(self) -> int:
        """The dimension that gains most; to first order its corner is the best rule."""
        return int(np.argmax(self.gains))


def balance(first: Floats, *, eps: float = EPS) -> Balance:
    """Test from draws (S, 3) of v whether its entries are equal."""
    relative = first - first.mean(axis=1, keepdims=True)
    two = relative[:, :2]  # the third is minus their sum
    centre = two.mean(axis=0)
    inverse = np.linalg.inv(np.cov(two.T))
    far = np.einsum("si,ij,sj->s", two - centre, inverse, two - centre)
    tail = float(np.mean(far >= centre @ inverse @ centre))
    gains = relative.mean(axis=0)
    low, high = np.quantile(relative, [0.025, 0.975], axis=0)
    return Balance(
        gains=_triple(gains),
        low=_triple(low),
        high=_triple(high),
        tail=tail,
        unbalanced=bool(tail < CLEAR and np.ptp(gains) > eps),
    )


def _triple(values: Floats) -> tuple[float, float, float]:
    d, w, r = (float(value) for value in values)
    return d, w, r
