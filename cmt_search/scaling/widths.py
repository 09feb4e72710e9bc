"""What a stage keeps while its width changes: how many heads it has, or how wide each is."""

from dataclasses import replace
from typing import Literal

from cmt_search.arch import Stage

Keep = Literal["heads", "head_dim"]


def width_unit(stage: Stage, *, keep: Keep) -> int:
    """The channels that the widths of this stage are multiples of."""
    return stage.heads if keep == "heads" else stage.head_dim


def widened(stage: Stage, *, width: int, keep: Keep) -> Stage:
    """The stage at another width, a multiple of its unit."""
    heads = stage.heads if keep == "heads" else width // stage.head_dim
    return replace(stage, width=width, heads=heads)
