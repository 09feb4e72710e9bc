"""A scaling rule as three shares of the growth in log MACs: a point of a triangle."""

import math
from dataclasses import dataclass

from cmt_search.errors import BudgetError

DIMENSIONS = ("depth", "width", "resolution")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shares:
    """How growth in log MACs is divided among depth, width and resolution.

    Shares that a user asks for are checked by `checked`; realised ones may leave the triangle.
    """

    depth: float
    width: float
    resolution: float

    @property
    def values(self) -> tuple[float, float, float]:
        """The three numbers in the order of `DIMENSIONS`."""
        return (self.depth, self.width, self.resolution)

    def checked(self) -> "Shares":
        """These shares, normalised to sum to one exactly.

        Raises:
            BudgetError: a share is negative, or they do not sum to one within 1e-3.
        """
        for name, value in zip(DIMENSIONS, self.values, strict=True):
            if not math.isfinite(value) or value < -1e-9:
                raise BudgetError(
                    f"shares.{name}={value} is outside 0..1; use a share of the growth"
                )
        total = math.fsum(self.values)
        if abs(total - 1) > 1e-3:
            raise BudgetError(
                f"shares {self.values} sum to {total:.4g}, not 1; divide each by their sum"
            )
        return Shares(
            **{n: max(v, 0.0) / total for n, v in zip(DIMENSIONS, self.values, strict=True)}
        )
