"""Asynchronous successive halving: whether a trial is promoted from a rung."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_MARGIN = 0.1  # of the reference point behind the worst, as a part of each objective's range


def should_promote(
    values: Sequence[float], *, others: Sequence[Sequence[float]], factor: int, signs: Sequence[int]
) -> bool:
    """Return whether a trial is in the best 1/factor of those that reached the rung.

    It is promoted unless n/factor or more of the n trials (including itself) are better; fewer than
    `factor` trials promote all. With one objective this is ASHA's stopping rule. With several, the
    better trial is on an earlier front of non-dominated sorting, or on the same front with a larger
    hypervolume contribution. Ties are not better. Signs are +1 if more is better, else -1.
    Source: Li et al. 2020, arXiv:1810.05934 (ASHA); Schmucker et al. 2021, arXiv:2106.12639.
    """
    count = len(others) + 1
    if count < factor:
        return True
    losses = -np.array([values, *others], dtype=float) * np.array(signs)
    better = _better_than_first(losses)
    return better < count / factor


def _better_than_first(losses: Floats) -> int:
    """Count the rows that are better than the first. Shape: (n, objectives), minimised."""
    if losses.shape[1] == 1:
        return int(np.sum(losses[1:, 0] < losses[0, 0]))
    from moocore import hv_contributions, pareto_rank

    points, inverse = np.unique(losses, axis=0, return_inverse=True)  # twins would add nothing
    inverse = inverse.ravel()
    rank = pareto_rank(points)
    same_front = rank == rank[inverse[0]]
    is_better = rank < rank[inverse[0]]
    if same_front.sum() > 1:
        spread = np.ptp(points, axis=0)
        scaled = (points - points.min(axis=0)) / np.where(spread > 0, spread, 1.0)
        added = np.zeros(len(points))
        added[same_front] = hv_contributions(
            scaled[same_front], ref=[1 + _MARGIN] * points.shape[1]
        )
        # rounded, so that floating-point errors do not decide between symmetric points
        added = np.round(added, 12)
        is_better |= same_front & (added > added[inverse[0]])
    return int(is_better[inverse].sum())
