"""Arch -> Cost, exact and in closed form."""

from cmt_search.cost.count import Cost, CostRow, cost, costs
from cmt_search.cost.sizes import Columns, sizes_like, sizes_of

__all__ = ["Columns", "Cost", "CostRow", "cost", "costs", "sizes_like", "sizes_of"]
