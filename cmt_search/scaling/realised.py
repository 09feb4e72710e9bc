"""Which dimension a network's growth really came from."""

import math

from cmt_search.arch import Arch
from cmt_search.cost.count import cost, sizes_of
from cmt_search.scaling.shares import Shares
from cmt_search.scaling.smooth import Groups, path_gradient, variables


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
