"""The sizes that the closed form takes: of one network, or of many as arrays."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypedDict, Unpack

import numpy as np
from numpy.typing import ArrayLike

from cmt_search.arch import Arch
from cmt_search.cost.formula import Array, N, Sizes, StageSizes
from cmt_search.errors import ArchError

_LARGEST = 2**31 - 1  # of a size, so that the pixels of a map are counted in 64 bits
_COUNTS = ("depth", "width", "hidden", "qk", "tokens", "kv_tokens", "heads")  # of a stage
_OF_NETWORK = ("resolution", "stem_width", "neck_width")
_OF_STAGE = ("depth", "width", "heads")


class Columns(TypedDict, total=False):
    """Sizes of n networks; what is left out is the base's, or follows from the base's ratios.

    Shape: one value, or (stages,), stands for all networks.
    """

    resolution: ArrayLike  # (n,) pixels
    stem_width: ArrayLike  # (n,)
    neck_width: ArrayLike  # (n,)
    depth: ArrayLike  # (n, stages)
    width: ArrayLike  # (n, stages)
    heads: ArrayLike  # (n, stages)
    hidden: ArrayLike  # (n, stages)
    qk: ArrayLike  # (n, stages)


def sizes_of(arch: Arch, *, input_size: tuple[int, int] | None = None) -> Sizes[int]:
    """The sizes that the closed form takes, with odd maps padded up as the builder does.

    Shape: `input_size` is (height, width) in pixels; by default a square of `arch.resolution`.
    """
    counts = [
        {"depth": s.depth, "width": s.width, "hidden": s.hidden, "qk": s.qk_width, "heads": s.heads}
        for s in arch.stages
    ]
    side = input_size or (arch.resolution, arch.resolution)
    ends = {"stem_width": arch.stem_width, "neck_width": arch.neck_width}
    return _assembled(arch, side=side, ends=ends, counts=counts)


def sizes_like(base: Arch, **given: Unpack[Columns]) -> Sizes[Array]:
    """The sizes of n networks that are `base` but for these columns; no network is made.

    Shape: see `Columns`; every size becomes an array (n,).
    Raises:
        ArchError: see `checked`, or a width is not divisible by its heads.
    """
    return sizes_in(checked(base, given), base=base)


def each_size(sizes: Sizes[Array], change: Callable[[Array], N]) -> Sizes[N]:
    """The sizes with every array changed."""
    neck = sizes.neck_width
    return Sizes(
        in_chans=sizes.in_chans,
        stem_width=change(sizes.stem_width),
        stem_tokens=change(sizes.stem_tokens),
        stages=tuple(
            StageSizes(
                **{name: change(getattr(stage, name)) for name in _COUNTS},
                kv_stride=stage.kv_stride,
                position=stage.position,
            )
            for stage in sizes.stages
        ),
        neck_width=neck if isinstance(neck, int) else change(neck),
        num_classes=sizes.num_classes,
    )


def _assembled(
    arch: Arch, *, side: tuple[N, N], ends: Mapping[str, N], counts: Sequence[Mapping[str, N]]
) -> Sizes[N]:
    """Adds the maps, each padded up to its stride, to the counts of every stage."""
    height, width = (_ceil(pixels, arch.stem_stride) for pixels in side)
    stem_tokens = height * width
    stages = []
    for stage, row in zip(arch.stages, counts, strict=True):
        height, width = _ceil(height, 2), _ceil(width, 2)
        stages.append(
            StageSizes(
                **row,
                tokens=height * width,
                kv_tokens=_ceil(height, stage.kv_stride) * _ceil(width, stage.kv_stride),
                kv_stride=stage.kv_stride,
                position=arch.position,
            )
        )
    return Sizes(
        in_chans=arch.in_chans,
        stem_width=ends["stem_width"],
        stem_tokens=stem_tokens,
        stages=tuple(stages),
        neck_width=ends["neck_width"],
        num_classes=arch.num_classes,
    )


def _ceil(pixels: N, stride: int) -> N:
    return -(-pixels // stride)


def checked(base: Arch, given: Columns) -> dict[str, Array]:
    """The columns of all sizes that Arch and Stage name, and of those that are given besides.

    Shape: (n,) for the network's, (n, stages) for the stages'.
    Raises:
        ArchError: there is no such column, a size is no whole number from 1 to 2^31 - 1, or has
            another shape than `Columns` says.
    """
    if unknown := sorted(given.keys() - Columns.__annotations__.keys()):
        raise ArchError(f"{unknown[0]} is no column; use {', '.join(Columns.__annotations__)}")
    count = len(base.stages)
    values: dict[str, Any] = {name: getattr(base, name) for name in _OF_NETWORK}
    values |= {name: [getattr(s, name) for s in base.stages] for name in _OF_STAGE}
    values |= given
    tails = {name: () if name in _OF_NETWORK else (count,) for name in values}
    columns = {name: _whole(name, values[name], tail=tails[name]) for name in values}
    lengths = {name: c.shape[: c.ndim - len(tails[name])] for name, c in columns.items()}
    try:
        shape = np.broadcast_shapes((1,), *lengths.values())
    except ValueError:
        found = ", ".join(f"{name} {length[0]}" for name, length in lengths.items() if length)
        raise ArchError(f"columns of different lengths: {found}; give a row per network") from None
    return {name: np.broadcast_to(columns[name], shape + tails[name]) for name in columns}


def sizes_in(columns: Mapping[str, Array], *, base: Arch) -> Sizes[Array]:
    """The sizes in checked columns. Shape: (n,) and (n, stages) to sizes (n,)."""
    ratios = np.array([(s.mlp_ratio, s.qk_ratio) for s in base.stages]).T[..., None]
    # A stage's column becomes a row of its own memory.
    rows = {
        name: np.ascontiguousarray(columns[name].T) for name in columns if name not in _OF_NETWORK
    }
    width, heads = rows["width"], rows["heads"]
    in_head, rest = np.divmod(width, heads)
    if rest.any():
        raise ArchError("width: some are not divisible by their heads; use multiples of heads")
    # As Stage.hidden and Stage.qk_width round.
    rows.setdefault("hidden", (width * ratios[0]).astype(np.int64))
    rows.setdefault("qk", (in_head * ratios[1]).astype(np.int64) * heads)
    if rows["hidden"].min() < 1 or rows["qk"].min() < 1:
        raise ArchError("width: some leave no hidden or query channels; use wider ones")
    return _assembled(
        base,
        side=(columns["resolution"], columns["resolution"]),
        ends={name: columns[name] for name in ("stem_width", "neck_width")},
        counts=[{name: row[i] for name, row in rows.items()} for i in range(len(base.stages))],
    )


def _whole(name: str, given: ArrayLike, *, tail: tuple[int, ...]) -> Array:
    """A column of sizes, as 64-bit integers. Shape: tail or (n, *tail)."""
    column = np.asarray(given)
    if not np.issubdtype(column.dtype, np.integer):
        raise ArchError(f"{name}: {column.dtype} are no whole numbers; round, then cast to int64")
    if column.ndim - len(tail) not in (0, 1) or column.shape[column.ndim - len(tail) :] != tail:
        shapes = f"(n, {tail[0]}) or ({tail[0]},)" if tail else "(n,) or one value"
        raise ArchError(f"{name}: has the shape {column.shape}; give {shapes}")
    if not column.size or column.min() < 1 or column.max() > _LARGEST:
        found = f"{column.min()} to {column.max()}" if column.size else "nothing"
        raise ArchError(f"{name}: {found} is outside 1 to {_LARGEST}; give sizes in that range")
    return column.astype(np.int64, copy=False)
