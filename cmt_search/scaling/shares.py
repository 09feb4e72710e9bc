"""Shares of the growth in log MACs: of a rule, a point of a triangle, and those that a network has.

Growth is attributed to depth, width and resolution by integrated gradients.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import numpy as np

from cmt_search.arch import Arch
from cmt_search.cost import cost, sizes_of
from cmt_search.errors import BudgetError
from cmt_search.scaling.continuous import Floats, VariableGroups, mean_gradient, to_variables

DIMENSIONS = ("depth", "width", "resolution")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shares:
    """How growth in log MACs is divided among depth, width and resolution.

    Shares that a user asks for are checked by `checked`; realised ones may leave the triangle.
    """

    depth: float
    width: float
    resolution: float

    @classmethod
    def from_values(cls, values: Iterable[float]) -> Self:
        """Return the shares of three numbers in the order of `DIMENSIONS`."""
        return cls(**dict(zip(DIMENSIONS, values, strict=True)))

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
        return Shares.from_values(max(value, 0.0) / total for value in self.values)


def realised_shares(base: Arch, arch: Arch) -> tuple[Shares | None, float]:
    """Integrated gradients of ln MACs from base to network, by dimension, and the residual.

    Shares and residual sum to one. The residual is due to changed ratios, since hidden, query and
    key channels are whole numbers. Padding of odd maps counts as resolution. Shares are None where
    both networks cost the same.
    Source: integrated gradients, arXiv:1703.01365.
    """
    log_macs_ratio = math.log(cost(arch).macs / cost(base).macs)
    if abs(log_macs_ratio) < 1e-9:
        return None, 0.0
    start, end = to_variables(sizes_of(base)), to_variables(sizes_of(arch))
    parts = mean_gradient(start, end, like=sizes_of(base)) * (end - start) / log_macs_ratio
    groups = VariableGroups.of(len(base.stages))
    dimensions = (groups.depth, groups.width, groups.resolution)
    shares = Shares.from_values(float(parts[group].sum()) for group in dimensions)
    return shares, 1 - math.fsum(shares.values)


def realised_coordinates(base: Arch, arch: Arch) -> Floats:
    """Logs of the factors on depth, on stage widths (geometric mean) and on resolution.

    Shape: (3,).
    """
    widths = [math.log(s.width / b.width) for s, b in zip(arch.stages, base.stages, strict=True)]
    resolution = math.log(arch.resolution / base.resolution)
    return np.array(
        [math.log(arch.depth / base.depth), math.fsum(widths) / len(widths), resolution]
    )
