"""Grids of a network's maps, and position tables resized from one grid to another."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

from cmt_search.arch import Arch
from cmt_search.errors import ArchError

Grid = tuple[int, int]  # (height, width)


@dataclass(frozen=True, slots=True, kw_only=True)
class StageGrids:
    """Grids of a stage's maps: of the queries, and of keys and values."""

    queries: Grid
    keys: Grid

    @property
    def tokens(self) -> tuple[int, int]:
        """Numbers of queries and of keys: the shape of a head's position table."""
        return math.prod(self.queries), math.prod(self.keys)


def stage_grids(arch: Arch, *, input_size: Grid) -> tuple[StageGrids, ...]:
    """Return the grids of every stage; odd maps are padded, so sides are ceilings.

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


def fitting_sizes(
    tables: Mapping[int, Tensor], arch: Arch, *, sizes: Iterable[Grid]
) -> dict[tuple[StageGrids, ...], Grid]:
    """Return those input sizes at which every stage's table has its shape, one per set of grids.

    Shape: `tables` are (heads, queries, keys) by stage; sizes are (height, width) in pixels.
    """
    fitting: dict[tuple[StageGrids, ...], Grid] = {}
    for size in sizes:
        grids = stage_grids(arch, input_size=size)
        if all(tuple(table.shape[1:]) == grids[stage].tokens for stage, table in tables.items()):
            fitting.setdefault(grids, size)
    return fitting


def square_size(arch: Arch, *, queries: int) -> Grid:
    """Return the square, in pixels, that gives the first stage at most this many queries.

    Other squares with as many queries give every stage the same grids: strides only multiply.
    """
    side = math.isqrt(queries) * arch.stem_stride * 2
    return side, side


def resize_table(table: Tensor, *, old: StageGrids, new: StageGrids) -> Tensor:
    """Resize a position table bicubically, over the grid of queries and over that of keys.

    Shape: (heads, old queries, old keys) in, (heads, new queries, new keys) out.
    Source: CMT, arXiv:2107.06263, which resizes its tables this way for transfer.
    """
    if old == new:
        return table
    by_key = _resize_last(table.float().transpose(1, 2), old=old.queries, new=new.queries)
    resized = _resize_last(by_key.transpose(1, 2), old=old.keys, new=new.keys)
    return resized.to(table.dtype).contiguous()  # required by safetensors


def _resize_last(table: Tensor, *, old: Grid, new: Grid) -> Tensor:
    if old == new:
        return table
    maps = table.reshape(*table.shape[:2], *old)
    # Without antialiasing, a table resized to a finer grid and back is nearly unchanged.
    return F.interpolate(maps, size=new, mode="bicubic").flatten(-2)


def _strided(grid: Grid, stride: int) -> Grid:
    return -(-grid[0] // stride), -(-grid[1] // stride)
