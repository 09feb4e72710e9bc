"""The choice among rules that cannot be told apart: by what they cost beside MACs."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from cmt_search.errors import AnalysisError


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One rule of an equivalence set, and why this one."""

    shares: tuple[float, float, float]  # depth, width, resolution
    criterion: str  # what was made least, say "activations"
    cost: float  # in the criterion's units
    among: int  # rules of the set with a known cost


def cheapest(shares: ArrayLike, *, cost: ArrayLike, criterion: str) -> Choice:
    """Choose the rule of least `cost`; of equals the first. A cost that is not finite is unknown.

    Shape: shares (n, 3), of the set alone; cost (n,), of each rule's member at the budget.

    Raises:
        AnalysisError: no rule has a known cost.
    """
    rules, costs = np.asarray(shares, float).reshape(-1, 3), np.asarray(cost, float)
    known = np.isfinite(costs)
    if not known.any():
        raise AnalysisError(
            f"none of the {len(costs)} rules to choose from has a finite cost in {criterion}; "
            "choose by another criterion, or at a budget for which they have members"
        )
    least = int(np.where(known, costs, np.inf).argmin())
    depth, width, resolution = rules[least].tolist()
    return Choice(
        shares=(depth, width, resolution),
        criterion=criterion,
        cost=float(costs[least]),
        among=int(known.sum()),
    )
