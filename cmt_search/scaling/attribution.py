"""Where a network really stands: its coordinates, and which dimension its growth came from."""

import math

import numpy as np

from cmt_search.arch import Arch
from cmt_search.cost import cost, sizes_of
from cmt_search.scaling.continuous import Floats, Groups, path_gradient, variables
from cmt_search.scaling.shares import Shares


def realised_shares(base: Arch, arch: Arch) -> tuple[Shares | None, float]:
    """Integrated gradients of ln MACs from base to network, by dimension, and the residual.

    Shares and residual sum to one; the residual is what changed ratios explain, as hidden channels
    and those of queries and keys are whole numbers. Padding of odd maps counts as resolution.
    Shares are None where both networks cost the same.
    Source: integrated gradients, arXiv:1703.01365.
    """
    growth = math.log(cost(arch).macs / cost(base).macs)
    if abs(growth) < 1e-9:
        return None, 0.0
    start, end = variables(sizes_of(base)), variables(sizes_of(arch))
    parts = path_gradient(start, end, like=sizes_of(base)) * (end - start) / growth
    groups = Groups.of(len(base.stages))
    shares = Shares(
        depth=float(parts[groups.depth].sum()),
        width=float(parts[groups.width].sum()),
        resolution=float(parts[groups.resolution].sum()),
    )
    return shares, 1 - math.fsum(shares.values)


def realised_coordinates(base: Arch, arch: Arch) -> Floats:
    """Logs of the factors on total depth, on stage widths (their geometric mean), and on the side.

    Shape: (3,).
    """
    widths = [math.log(s.width / b.width) for s, b in zip(arch.stages, base.stages, strict=True)]
    sides = math.log(arch.resolution / base.resolution)
    return np.array([math.log(arch.depth / base.depth), math.fsum(widths) / len(widths), sides])


def realised_stage_ratio(base: Arch, arch: Arch) -> float | None:
    """Of the blocks that were added, or taken away, the part in the third stage.

    None where the number of blocks is the base's, or there is no third stage.
    """
    added = arch.depth - base.depth
    if added == 0 or len(base.stages) < 3:
        return None
    return (arch.stages[2].depth - base.stages[2].depth) / added
