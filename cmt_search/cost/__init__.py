"""Arch -> Cost, exact and in closed form."""

from cmt_search.cost.analytic import Columns, Cost, CostRow, cost, costs, sizes_like, sizes_of

__all__ = ["Columns", "Cost", "CostRow", "cost", "costs", "sizes_like", "sizes_of"]
