"""A network of a given total depth, width and resolution around a base."""

import math
from dataclasses import replace

import numpy as np

from cmt_search.arch import Arch
from cmt_search.scaling.rounding import split_depth
from cmt_search.scaling.smooth import SmoothFamily
from cmt_search.scaling.widths import Keep, widened, width_unit


def shaped(
    base: Arch,
    *,
    depth: int | None = None,
    width: int | None = None,
    resolution: int | None = None,
    stage_ratio: float | None = None,
    keep: Keep = "heads",
) -> Arch:
    """The base with so many blocks, such a first-stage width, such a side; None keeps the base's.

    Blocks are split as the base's, or with `stage_ratio` of the added ones in stage 3; the other
    widths keep their proportion to the first stage's, on multiples of their heads, or of the
    channels of a head where `keep` is "head_dim".

    Raises:
        ArchError: the result is no network.
        BudgetError: the stage ratio is impossible.
    """
    family = SmoothFamily(base=base, stage_ratio=stage_ratio)
    blocks = max(depth or base.depth, len(base.stages))
    ideal = family.depths_at(np.array(math.log(blocks / base.depth)))
    factor = (width or base.stages[0].width) / base.stages[0].width
    stages = []
    depths = split_depth(blocks, ideal=[float(v) for v in ideal])
    for stage, blocks_here in zip(base.stages, depths, strict=True):
        unit = width_unit(stage, keep=keep)
        scaled = max(1, round(stage.width * factor / unit)) * unit
        stages.append(replace(widened(stage, width=scaled, keep=keep), depth=blocks_here))
    return replace(
        base,
        resolution=resolution or base.resolution,
        stem_width=max(1, round(base.stem_width * factor)),
        stages=tuple(stages),
    )
