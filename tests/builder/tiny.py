"""The smallest network that has every part of a CMT, and its variants."""

from dataclasses import replace
from typing import Any

from cmt_search.arch import Arch, Stage
from cmt_search.builder import CMT

TINY = Arch(
    resolution=18,  # odd maps of 9 and 5 pixels, so that strided layers pad
    stem_width=4,
    stem_stride=1,
    stages=(
        Stage(depth=1, width=8, heads=2, kv_stride=2, mlp_ratio=2.0, qk_ratio=0.5),
        Stage(depth=1, width=12, heads=2, mlp_ratio=2.0),
    ),
    neck_width=16,
    in_chans=1,
    num_classes=5,
)
ONE_PIXEL = (3, 2)  # input size that leaves stage 1 two pixels with one key, and stage 2 one pixel


def tiny(*, position: str = "stage", **options: Any) -> CMT:
    """TINY with these position tables, built with these options."""
    return CMT(replace(TINY, position=position), **options)
