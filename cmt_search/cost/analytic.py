"""Exact parameters, MACs and activations in closed form, of one network or of many."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Generic, TypedDict, TypeVar, Unpack, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cmt_search.arch import Arch
from cmt_search.errors import ArchError

Array = NDArray[Any]
N = TypeVar("N", int, Array)

_MAX_SIZE = 2**31 - 1  # so that the pixels of a map are counted in 64 bits
_CHUNK = 8192  # networks whose intermediate arrays fit into a core's cache
_COUNTS = ("depth", "width", "hidden", "qk", "tokens", "kv_tokens", "heads")  # of StageSizes
_NETWORK_SIZES = ("resolution", "stem_width", "neck_width")
_STAGE_SIZES = ("depth", "width", "heads")


@dataclass(frozen=True, slots=True, kw_only=True)
class CostTerms(Generic[N]):
    """Cost of a part of a network for one image."""

    params: N  # trainable scalars
    macs: N  # multiply-accumulates; the CMT paper calls them FLOPs
    activations: N  # elements of all convolution and linear outputs

    def __add__(self, other: "CostTerms[N]") -> "CostTerms[N]":
        return CostTerms(
            params=_add(self.params, other.params),
            macs=_add(self.macs, other.macs),
            activations=_add(self.activations, other.activations),
        )

    def times(self, count: N) -> "CostTerms[N]":
        """Cost of `count` such parts."""
        return CostTerms(
            params=self.params * count, macs=self.macs * count, activations=self.activations * count
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CostRow(CostTerms[int]):
    """Cost of the stem, of one stage with its patch embedding, or of the head."""

    name: str  # "stem", "stage1", ..., "head"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost(CostTerms[int]):
    """Exact cost of a network for one image."""

    rows: tuple[CostRow, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**asdict(self), "rows": [asdict(row) for row in self.rows]}


@dataclass(frozen=True, slots=True, kw_only=True)
class StageSizes(Generic[N]):
    """Sizes of a stage that determine its cost."""

    depth: N  # blocks
    width: N  # channels
    hidden: N  # channels inside the IRFFN
    qk: N  # channels of queries and of keys, all heads together
    tokens: N  # pixels of the map
    kv_tokens: N  # pixels of the map of keys and values
    heads: N
    kv_stride: int
    position: str  # tables of position biases: one per "stage", per "block", or "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes(Generic[N]):
    """Sizes of a network that determine its cost."""

    in_chans: int
    stem_width: N
    stem_tokens: N
    stages: tuple[StageSizes[N], ...]
    neck_width: N | int
    num_classes: int


class SizeArrays(TypedDict, total=False):
    """Sizes of n networks; a missing one is the base's, or follows from the base's ratios.

    Shape: as noted; one value, or (stages,), applies to all networks.
    """

    resolution: ArrayLike  # (n,) pixels
    stem_width: ArrayLike  # (n,)
    neck_width: ArrayLike  # (n,)
    depth: ArrayLike  # (n, stages)
    width: ArrayLike  # (n, stages)
    heads: ArrayLike  # (n, stages)
    hidden: ArrayLike  # (n, stages)
    qk: ArrayLike  # (n, stages)


def cost(arch: Arch, *, input_size: tuple[int, int] | None = None) -> Cost:
    """Count parameters, MACs and activations of `arch`, exactly as torch builds it.

    Shape: one image of `input_size` (height, width), by default a square of `arch.resolution`.
    Units: see `CostTerms`.
    Source: CMT, arXiv:2107.06263, and its official code.
    """
    rows = network_rows(sizes_of(arch, input_size=input_size))
    names = ("stem", *(f"stage{i + 1}" for i in range(len(arch.stages))), "head")
    return Cost(
        **_to_dict(total(rows)),
        rows=tuple(CostRow(name=n, **_to_dict(row)) for n, row in zip(names, rows, strict=True)),
    )


def costs(base: Arch, **sizes: Unpack[SizeArrays]) -> CostTerms[Array]:
    """Count n networks at once, exactly as `cost` does; a million per second.

    The networks are `base` with the given sizes: costs(base, depth=depths, width=widths).
    Shape: see `SizeArrays`; returns 64-bit integers (n,).
    Units: see `CostTerms`.
    Raises:
        ArchError: an array has another shape or dtype, see `SizeArrays`; a width is not divisible
            by its heads; or counts may not fit into 64 bits (sizes near 2^31 - 1).
    """
    arrays = _check_arrays(base, sizes)
    parts = []
    for start in range(0, len(arrays["resolution"]), _CHUNK):
        chunk = {name: array[start : start + _CHUNK] for name, array in arrays.items()}
        chunk_sizes = _to_sizes(chunk, base=base)
        _check_overflow(chunk_sizes)
        parts.append(_to_dict(total(network_rows(chunk_sizes))))
    return CostTerms(**{name: np.concatenate([part[name] for part in parts]) for name in parts[0]})


def sizes_of(arch: Arch, *, input_size: tuple[int, int] | None = None) -> Sizes[int]:
    """Sizes for the cost formula; odd maps are padded up as the builder does.

    Shape: `input_size` is (height, width) in pixels; by default a square of `arch.resolution`.
    """
    counts = [
        {"depth": s.depth, "width": s.width, "hidden": s.hidden, "qk": s.qk_width, "heads": s.heads}
        for s in arch.stages
    ]
    return _assemble(
        arch,
        input_size=input_size or (arch.resolution, arch.resolution),
        stem_width=arch.stem_width,
        neck_width=arch.neck_width,
        counts=counts,
    )


def sizes_like(base: Arch, **sizes: Unpack[SizeArrays]) -> Sizes[Array]:
    """Sizes of n networks that are `base` with the given sizes.

    Shape: see `SizeArrays`; every size becomes an array (n,).
    Raises:
        ArchError: an array has another shape or dtype, or a width is not divisible by its heads.
    """
    return _to_sizes(_check_arrays(base, sizes), base=base)


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
    terms = (q + out) + (k + v) + products
    if stage.kv_stride > 1:
        terms = terms + depthwise(width, area=stage.kv_stride**2, tokens=kv_tokens) + norm(width)
    return terms


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
    """Cost of a stage's position tables, which are added without multiplications.

    Shape: each table (heads, tokens, kv_tokens).
    """
    zero, one = constant(stage.depth, 0), constant(stage.depth, 1)
    tables = {"stage": one, "block": stage.depth, "none": zero}[stage.position]
    return CostTerms(
        params=stage.tokens * stage.kv_tokens * stage.heads * tables, macs=zero, activations=zero
    )


def stage_cost(stage: StageSizes[N], *, c_in: N) -> CostTerms[N]:
    """Cost of a stage: patch embedding, blocks, and position tables."""
    embedding = dense(c_in, stage.width, area=4, tokens=stage.tokens) + norm(stage.width)
    return embedding + block_cost(stage).times(stage.depth) + position_cost(stage)


def network_rows(sizes: Sizes[N]) -> tuple[CostTerms[N], ...]:
    """Cost of the stem, of each stage, and of the head, in that order.

    Shape: of the sizes; a term that depends on no array is a plain number.
    """
    width, tokens = sizes.stem_width, sizes.stem_tokens
    first = dense(constant(width, sizes.in_chans), width, area=9, tokens=tokens) + norm(width)
    other = dense(width, width, area=9, tokens=tokens) + norm(width)
    rows = [first + other.times(constant(width, 2))]
    for stage in sizes.stages:
        rows.append(stage_cost(stage, c_in=width))
        width = stage.width
    neck = constant(width, sizes.neck_width)
    head = dense(width, neck, area=1, tokens=sizes.stages[-1].tokens) + norm(neck)
    if classes := sizes.num_classes:
        head = head + dense(neck, constant(neck, classes), area=1, tokens=constant(neck, 1))
    rows.append(head)
    return tuple(rows)


def total(rows: Sequence[CostTerms[N]]) -> CostTerms[N]:
    """Sum of the rows."""
    result = rows[0]
    for row in rows[1:]:
        result = result + row
    return result


def constant(_like: N, value: object) -> N:
    """A constant, typed as the sizes; it broadcasts with arrays."""
    return cast("N", value)


def _add(a: N, b: N) -> N:
    return a if isinstance(b, int) and b == 0 else a + b  # adding 0 to an array would be a pass


def _to_dict(terms: CostTerms[N]) -> dict[str, N]:
    return {"params": terms.params, "macs": terms.macs, "activations": terms.activations}


def _assemble(
    arch: Arch,
    *,
    input_size: tuple[N, N],
    stem_width: N,
    neck_width: N,
    counts: Sequence[Mapping[str, N]],
) -> Sizes[N]:
    """Add the maps, each padded up to its stride, to the counts of every stage."""
    height, width = (_ceil_div(pixels, arch.stem_stride) for pixels in input_size)
    stem_tokens = height * width
    stages = []
    for stage, row in zip(arch.stages, counts, strict=True):
        height, width = _ceil_div(height, 2), _ceil_div(width, 2)
        kv_tokens = _ceil_div(height, stage.kv_stride) * _ceil_div(width, stage.kv_stride)
        stages.append(
            StageSizes(
                **row,
                tokens=height * width,
                kv_tokens=kv_tokens,
                kv_stride=stage.kv_stride,
                position=arch.position,
            )
        )
    return Sizes(
        in_chans=arch.in_chans,
        stem_width=stem_width,
        stem_tokens=stem_tokens,
        stages=tuple(stages),
        neck_width=neck_width,
        num_classes=arch.num_classes,
    )


def _ceil_div(pixels: N, stride: int) -> N:
    return -(-pixels // stride)


def _check_arrays(base: Arch, sizes: SizeArrays) -> dict[str, Array]:
    """Validate the sizes and broadcast them, with the base's where one is missing.

    Shape: (n,) for the network's, (n, stages) for the stages'.
    """
    if unknown := sorted(sizes.keys() - SizeArrays.__annotations__.keys()):
        raise ArchError(f"unknown size {unknown[0]}; use {', '.join(SizeArrays.__annotations__)}")
    values: dict[str, Any] = {name: getattr(base, name) for name in _NETWORK_SIZES}
    values |= {name: [getattr(s, name) for s in base.stages] for name in _STAGE_SIZES}
    values |= sizes
    stages = (len(base.stages),)
    tails = {name: () if name in _NETWORK_SIZES else stages for name in values}
    arrays = {name: _check_array(name, values[name], tail=tails[name]) for name in values}
    lengths = {name: a.shape[: a.ndim - len(tails[name])] for name, a in arrays.items()}
    try:
        shape = np.broadcast_shapes((1,), *lengths.values())
    except ValueError:
        given = ", ".join(f"{name} {length[0]}" for name, length in lengths.items() if length)
        raise ArchError(f"arrays of different lengths: {given}; give a row per network") from None
    return {name: np.broadcast_to(arrays[name], shape + tails[name]) for name in arrays}


def _check_array(name: str, values: ArrayLike, *, tail: tuple[int, ...]) -> Array:
    """Validate an array of sizes. Shape: tail or (n, *tail)."""
    array = np.asarray(values)
    if not np.issubdtype(array.dtype, np.integer):
        raise ArchError(f"{name}: dtype {array.dtype} is not integer; round, then cast to int64")
    if array.ndim - len(tail) not in (0, 1) or array.shape[array.ndim - len(tail) :] != tail:
        shapes = f"(n, {tail[0]}) or ({tail[0]},)" if tail else "(n,) or one value"
        raise ArchError(f"{name}: has the shape {array.shape}; give {shapes}")
    if not array.size or array.min() < 1 or array.max() > _MAX_SIZE:
        given = f"{array.min()} to {array.max()}" if array.size else "nothing"
        raise ArchError(f"{name}: {given} is outside 1 to {_MAX_SIZE}; give sizes in that range")
    return array.astype(np.int64, copy=False)


def _to_sizes(arrays: Mapping[str, Array], *, base: Arch) -> Sizes[Array]:
    """Sizes from validated arrays. Shape: (n,) and (n, stages) to sizes (n,)."""
    ratios = np.array([(s.mlp_ratio, s.qk_ratio) for s in base.stages]).T[..., None]
    # A stage's column becomes a contiguous row.
    rows = {n: np.ascontiguousarray(arrays[n].T) for n in arrays if n not in _NETWORK_SIZES}
    width, heads = rows["width"], rows["heads"]
    head_dim, remainder = np.divmod(width, heads)
    if remainder.any():
        raise ArchError("width: some are not divisible by their heads; use multiples of heads")
    # Rounded as Stage.hidden and Stage.qk_width.
    rows.setdefault("hidden", (width * ratios[0]).astype(np.int64))
    rows.setdefault("qk", (head_dim * ratios[1]).astype(np.int64) * heads)
    if rows["hidden"].min() < 1 or rows["qk"].min() < 1:
        raise ArchError("width: some leave no hidden or query channels; use wider ones")
    return _assemble(
        base,
        input_size=(arrays["resolution"], arrays["resolution"]),
        stem_width=arrays["stem_width"],
        neck_width=arrays["neck_width"],
        counts=[{name: row[i] for name, row in rows.items()} for i in range(len(base.stages))],
    )


def _check_overflow(sizes: Sizes[Array]) -> None:
    """Costs grow with every size: if the largest of each fit together, every network fits."""

    def largest(part: object, names: Sequence[str]) -> dict[str, Any]:
        return {name: int(np.max(getattr(part, name))) for name in names}

    stages = tuple(replace(stage, **largest(stage, _COUNTS)) for stage in sizes.stages)
    ends = largest(sizes, ("stem_width", "stem_tokens", "neck_width"))
    costs = total(network_rows(cast("Sizes[int]", replace(sizes, **ends, stages=stages))))
    if (count := max(_to_dict(costs).values())) >= 2**63:
        raise ArchError(
            f"counts of up to {count:.1e} may not fit into 64 bits (9.2e18); "
            "count such networks one by one with cost()"
        )
