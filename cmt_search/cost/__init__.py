"""Arch -> Cost, exact and in closed form."""

from cmt_search.cost.analytic import Cost, CostRow, cost, costs, sizes_like, sizes_of

__all__ = ["Cost", "CostRow", "cost", "costs", "sizes_like", "sizes_of"]
