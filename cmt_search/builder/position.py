"""Grids that a network's maps have, and position tables resized from one grid to another."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from cmt_search.arch import Arch
from cmt_search.errors import ArchError

Grid = tuple[int, int]  # (height, width)


@dataclass(frozen=True, slots=True, kw_only=True)
class StageGrids:
    """The maps of a stage: where queries stand, and where keys and values stand."""

    queries: Grid
    keys: Grid


def stage_grids(arch: Arch, *, input_size: Grid) -> tuple[StageGrids, ...]:
    """The grids of every stage; odd maps are padded, so sides are ceilings.

    Shape: `input_size` is (height, width) in pixels.
    Raises: ArchError when a side has no pixel.
    """
    if min(input_size) < 1:
        raise ArchError(f"input_size={input_size} leaves no pixel; use at least 1 on each side")
    queries = _strided(input_size, arch.stem_stride)
    grids = []
    for stage in arch.stages:
        queries = _strided(queries, 2)
        grids.append(StageGrids(queries=queries, keys=_strided(queries, stage.kv_stride)))
    return tuple(grids)


def new_table(heads: int, grids: StageGrids, *, std: float) -> torch.nn.Parameter:
    """A position table drawn from N(0, std).

    Shape: (heads, queries, keys).
    """
    queries, keys = (height * width for height, width in (grids.queries, grids.keys))
    table = torch.nn.Parameter(torch.empty(heads, queries, keys))
    torch.nn.init.normal_(table, std=std)
    return table


def resize_table(table: Tensor, *, old: StageGrids, new: StageGrids) -> Tensor:
    """Resize a position table bicubically, over the grid of queries and over that of keys.

    Shape: (heads, old queries, old keys) in, (heads, new queries, new keys) out.
    Source: CMT, arXiv:2107.06263, which resizes its tables this way for transfer.
    """
    if old == new:
        return table
    by_key = _resize_last(table.float().transpose(1, 2), old=old.queries, new=new.queries)
    return _resize_last(by_key.transpose(1, 2), old=old.keys, new=new.keys).to(table.dtype)


def _resize_last(table: Tensor, *, old: Grid, new: Grid) -> Tensor:
    if old == new:
        return table
    maps = table.reshape(*table.shape[:2], *old)
    return F.interpolate(maps, size=new, mode="bicubic", antialias=True).flatten(-2)


def _strided(grid: Grid, stride: int) -> Grid:
    return -(-grid[0] // stride), -(-grid[1] // stride)
