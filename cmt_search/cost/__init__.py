"""Arch -> Cost, exact and in closed form."""

from cmt_search.cost.count import Cost, CostRow, cost, sizes_of, stacked

__all__ = ["Cost", "CostRow", "cost", "sizes_of", "stacked"]
