"""Exact parameters, MACs and activations in closed form, of one network or of many."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Generic, TypedDict, TypeVar, Unpack, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cmt_search.arch import Arch
from cmt_search.errors import ArchError

Array = NDArray[Any]
N = TypeVar("N", int, Array)


@dataclass(frozen=True, slots=True, kw_only=True)
class CostTerms(Generic[N]):
    """Cost of a part.

    Units: params are trainable scalars; macs are multiply-accumulates of one image; activations are
    elements of all convolution and linear outputs of one image.
    """

    params: N
    macs: N
    activations: N

    def __add__(self, other: "CostTerms[N]") -> "CostTerms[N]":
        return CostTerms(
            params=_sum(self.params, other.params),
            macs=_sum(self.macs, other.macs),
            activations=_sum(self.activations, other.activations),
        )

    def times(self, count: N) -> "CostTerms[N]":
        """The cost of `count` such parts."""
        return CostTerms(
            params=self.params * count, macs=self.macs * count, activations=self.activations * count
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class StageSizes(Generic[N]):
    """The sizes of a stage that its cost depends on."""

    depth: N  # blocks
    width: N  # channels
    hidden: N  # channels inside the IRFFN
    qk: N  # channels of queries and of keys, all heads together
    tokens: N  # pixels of the map
    kv_tokens: N  # pixels of the map that keys and values are taken from
    heads: N
    kv_stride: int
    position: str  # tables of position biases: one per "stage", per "block", or "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes(Generic[N]):
    """The sizes of a network that its cost depends on."""

    in_chans: int
    stem_width: N
    stem_tokens: N
    stages: tuple[StageSizes[N], ...]
    neck_width: N | int
    num_classes: int


def dense(c_in: N, c_out: N, *, area: int, tokens: N) -> CostTerms[N]:
    """A convolution or linear with bias; `area` is kernel height times width, 1 for a linear."""
    weights = c_in * c_out * area
    return CostTerms(params=weights + c_out, macs=weights * tokens, activations=c_out * tokens)


def depthwise(width: N, *, area: int, tokens: N) -> CostTerms[N]:
    """A depthwise convolution with bias."""
    weights = width * area
    return CostTerms(params=weights + width, macs=weights * tokens, activations=width * tokens)


def norm(width: N) -> CostTerms[N]:
    """A BatchNorm or LayerNorm: scale and shift, no MACs by definition."""
    return CostTerms(params=width * 2, macs=constant(width, 0), activations=constant(width, 0))


def attention_cost(stage: StageSizes[N]) -> CostTerms[N]:
    """Cost of the LMHSA: projections, strided keys and values, and the two attention products.

    Shape: (1, tokens, width) in and out.
    """
    width, qk, tokens, kv_tokens = stage.width, stage.qk, stage.tokens, stage.kv_tokens
    q, k = (dense(width, qk, area=1, tokens=count) for count in (tokens, kv_tokens))
    out, v = (dense(width, width, area=1, tokens=count) for count in (tokens, kv_tokens))
    macs = tokens * kv_tokens * (qk + width)  # queries by keys, weights by values
    products = CostTerms(params=constant(width, 0), macs=macs, activations=constant(width, 0))
    total = (q + out) + (k + v) + products
    if stage.kv_stride > 1:
        total = total + depthwise(width, area=stage.kv_stride**2, tokens=kv_tokens) + norm(width)
    return total


def irffn_cost(stage: StageSizes[N]) -> CostTerms[N]:
    """Cost of the inverted residual feed-forward network.

    Shape: (1, width, h, w) in and out, h * w = tokens.
    """
    width, hidden, tokens = stage.width, stage.hidden, stage.tokens
    expand = dense(width, hidden, area=1, tokens=tokens) + norm(hidden)
    local = depthwise(hidden, area=9, tokens=tokens) + norm(hidden)
    project = dense(hidden, width, area=1, tokens=tokens) + norm(width)
    return expand + local + project


def block_cost(stage: StageSizes[N]) -> CostTerms[N]:
    """Cost of one block: local perception unit, attention, feed-forward, two LayerNorms."""
    lpu = depthwise(stage.width, area=9, tokens=stage.tokens)
    return lpu + norm(stage.width) + attention_cost(stage) + norm(stage.width) + irffn_cost(stage)


def position_cost(stage: StageSizes[N]) -> CostTerms[N]:
    """Cost of a stage's position tables, which are added without a multiplication.

    Shape: each table (heads, tokens, kv_tokens).
    """
    tables = {
        "stage": constant(stage.depth, 1),
        "block": stage.depth,
        "none": constant(stage.depth, 0),
    }
    scalars = stage.tokens * stage.kv_tokens * stage.heads * tables[stage.position]
    return CostTerms(params=scalars, macs=constant(scalars, 0), activations=constant(scalars, 0))


def stage_cost(stage: StageSizes[N], *, c_in: N) -> CostTerms[N]:
    """Cost of a stage: patch embedding, blocks, and position tables."""
    embedding = dense(c_in, stage.width, area=4, tokens=stage.tokens) + norm(stage.width)
    return embedding + block_cost(stage).times(stage.depth) + position_cost(stage)


def network_rows(sizes: Sizes[N]) -> tuple[CostTerms[N], ...]:
    """Cost of the stem, of each stage, and of the head, in that order.

    Shape: of the sizes; a term of a row that no array decides is a plain number.
    """
    width, tokens = sizes.stem_width, sizes.stem_tokens
    first = dense(constant(width, sizes.in_chans), width, area=9, tokens=tokens) + norm(width)
    later = dense(width, width, area=9, tokens=tokens) + norm(width)
    rows = [first + later.times(constant(width, 2))]
    for stage in sizes.stages:
        rows.append(stage_cost(stage, c_in=width))
        width = stage.width
    neck = constant(width, sizes.neck_width)
    head = dense(width, neck, area=1, tokens=sizes.stages[-1].tokens) + norm(neck)
    if sizes.num_classes:
        head = head + dense(
            neck, constant(neck, sizes.num_classes), area=1, tokens=constant(neck, 1)
        )
    rows.append(head)
    return tuple(rows)


def total(rows: tuple[CostTerms[N], ...]) -> CostTerms[N]:
    """Sum of the rows."""
    result = rows[0]
    for row in rows[1:]:
        result = result + row
    return result


def constant(_kind: N, value: object) -> N:
    """A constant, as the kind of number that is counted in; beside arrays it broadcasts."""
    return cast("N", value)


def _sum(a: N, b: N) -> N:
    if isinstance(b, int) and b == 0:
        return a  # adding nothing to an array is a pass over it
    return a + b


_LARGEST = 2**31 - 1  # of a size, so that the pixels of a map are counted in 64 bits
_COUNTS = ("depth", "width", "hidden", "qk", "tokens", "kv_tokens", "heads")  # of a stage
_OF_NETWORK = ("resolution", "stem_width", "neck_width")
_OF_STAGE = ("depth", "width", "heads")


class SizeArrays(TypedDict, total=False):
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


def sizes_like(base: Arch, **given: Unpack[SizeArrays]) -> Sizes[Array]:
    """The sizes of n networks that are `base` but for these columns; no network is made.

    Shape: see `SizeArrays`; every size becomes an array (n,).
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


def checked(base: Arch, given: SizeArrays) -> dict[str, Array]:
    """The columns of all sizes that Arch and Stage name, and of those that are given besides.

    Shape: (n,) for the network's, (n, stages) for the stages'.
    Raises:
        ArchError: there is no such column, a size is no whole number from 1 to 2^31 - 1, or has
            another shape than `SizeArrays` says.
    """
    if unknown := sorted(given.keys() - SizeArrays.__annotations__.keys()):
        raise ArchError(f"{unknown[0]} is no column; use {', '.join(SizeArrays.__annotations__)}")
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


_AT_ONCE = 8192  # networks whose intermediate arrays stay in a core's cache


@dataclass(frozen=True, slots=True, kw_only=True)
class CostRow:
    """Cost of the stem, of one stage with its patch embedding, or of the head."""

    name: str  # "stem", "stage1", ..., "head"
    params: int  # trainable scalars
    macs: int  # multiply-accumulates of one image
    activations: int  # elements of all convolution and linear outputs of one image


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Cost of a network at batch size 1, exact."""

    params: int  # trainable scalars
    macs: int  # multiply-accumulates; the CMT paper calls them FLOPs
    activations: int  # elements of all convolution and linear outputs
    rows: tuple[CostRow, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**asdict(self), "rows": [asdict(row) for row in self.rows]}


def cost(arch: Arch, *, input_size: tuple[int, int] | None = None) -> Cost:
    """Parameters, MACs and activations of `arch`, equal to the digit to what torch builds.

    Shape: one image of `input_size` (height, width), by default a square of `arch.resolution`.
    Units: see `Cost`.
    Source: CMT, arXiv:2107.06263, and its official code.
    """
    rows = network_rows(sizes_of(arch, input_size=input_size))
    names = ("stem", *(f"stage{i + 1}" for i in range(len(arch.stages))), "head")
    whole = total(rows)
    return Cost(
        params=whole.params,
        macs=whole.macs,
        activations=whole.activations,
        rows=tuple(
            CostRow(name=name, params=row.params, macs=row.macs, activations=row.activations)
            for name, row in zip(names, rows, strict=True)
        ),
    )


def costs(base: Arch, **given: Unpack[SizeArrays]) -> CostTerms[Array]:
    """What `cost` says of each of n networks, to the digit; a million of them a second.

    The networks are `base` but for the columns given: costs(base, depth=depths, width=widths).
    Shape: see `SizeArrays`; to 64-bit integers (n,).
    Units: see `CostTerms`.
    Raises:
        ArchError: an array has another shape or dtype, see `SizeArrays`; a width is not divisible
            by its heads; or counts may not fit into 64 bits (sizes near 2^31 - 1).
    """
    columns = checked(base, given)
    parts = []
    for start in range(0, len(columns["resolution"]), _AT_ONCE):
        some = {name: column[start : start + _AT_ONCE] for name, column in columns.items()}
        sizes = sizes_in(some, base=base)
        _refuse_overflow(sizes)
        parts.append(total(network_rows(sizes)))
    return CostTerms(
        params=np.concatenate([part.params for part in parts]),
        macs=np.concatenate([part.macs for part in parts]),
        activations=np.concatenate([part.activations for part in parts]),
    )


def _refuse_overflow(sizes: Sizes[Array]) -> None:
    """Costs grow with every size: where the largest of each fit together, every network does."""
    largest = total(network_rows(each_size(sizes, lambda column: int(column.max()))))
    if (count := max(largest.params, largest.macs, largest.activations)) >= 2**63:
        raise ArchError(
            f"counts of up to {count:.1e} may not fit into 64 bits (9.2e18); "
            "count such networks one by one with cost()"
        )
