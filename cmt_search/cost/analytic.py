"""Exact parameters, MACs and activations in closed form, of one network or of many."""

import operator
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import reduce
from typing import Any, Generic, TypeVar, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cmt_search.arch import Arch
from cmt_search.errors import ArchError

Array = NDArray[Any]
N = TypeVar("N", int, Array)

_MAX_SIZE = 2**31 - 1  # so that the pixels of a map are counted in 64 bits
_CHUNK = 8192  # networks whose intermediate arrays fit into a core's cache
_NETWORK_SIZES = ("resolution", "stem_width", "neck_width")
_STAGE_SIZES = ("depth", "width", "heads", "hidden", "qk_width")
_COSTS = ("params", "macs", "activations")


@dataclass(frozen=True, slots=True, kw_only=True)
class CostTerms(Generic[N]):
    """Cost of a part of a network for one image."""

    params: N  # trainable scalars
    macs: N  # multiply-accumulates; the CMT paper calls them FLOPs
    activations: N  # elements of all convolution and linear outputs

    def __add__(self, other: "CostTerms[N]") -> "CostTerms[N]":
        return CostTerms(
            params=self.params + other.params,
            macs=self.macs + other.macs,
            activations=self.activations + other.activations,
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
    heads: N
    hidden: N  # channels inside the IRFFN
    qk_width: N  # channels of queries and of keys, all heads together
    tokens: N  # pixels of the map
    kv_tokens: N  # pixels of the map of keys and values
    kv_stride: int
    position: str  # tables of position biases: one per "stage", per "block", or "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes(Generic[N]):
    """Sizes of a network that determine its cost."""

    in_chans: int
    stem_width: N
    stem_tokens: N
    stages: tuple[StageSizes[N], ...]
    neck_width: N
    num_classes: int


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


def costs(base: Arch, **sizes: ArrayLike) -> CostTerms[Array]:
    """Count n networks at once, exactly as `cost` does; more than a million per second.

    The networks are `base` with the given sizes: costs(base, depth=depths, width=widths). A missing
    size is the base's, or follows from the base's ratios.
    Shape: resolution, stem_width and neck_width (n,) or (); depth, width, heads, hidden and
    qk_width (n, stages) or (stages,), which applies to all networks; returns 64-bit integers (n,).
    Units: see `CostTerms`.
    Raises:
        ArchError: a size is unknown, or an array has another shape or dtype; a width is not
            divisible by its heads; or counts may not fit into 64 bits (sizes near 2^31 - 1).
    """
    arrays = _to_arrays(base, sizes)
    # Costs grow with every size: if the largest of each fit together, every network fits.
    largest = {name: array.max(axis=-1).tolist() for name, array in arrays.items()}
    if (count := max(_to_dict(total(network_rows(_to_sizes(base, largest)))).values())) >= 2**63:
        raise ArchError(
            f"counts of up to {count:.1e} may not fit into 64 bits (9.2e18); "
            "count such networks one by one with cost()"
        )
    parts = []
    for start in range(0, arrays["resolution"].size, _CHUNK):
        chunk = {name: array[..., start : start + _CHUNK] for name, array in arrays.items()}
        parts.append(_to_dict(total(network_rows(_to_sizes(base, chunk)))))
    return CostTerms(**{name: np.concatenate([part[name] for part in parts]) for name in _COSTS})


def sizes_of(arch: Arch, *, input_size: tuple[int, int] | None = None) -> Sizes[int]:
    """Sizes for the cost formula; odd maps are padded up as the builder does.

    Shape: `input_size` is (height, width) in pixels; by default a square of `arch.resolution`.
    """
    return _to_sizes(arch, _base_sizes(arch), input_size=input_size)


def sizes_like(base: Arch, **sizes: ArrayLike) -> Sizes[Array]:
    """Sizes of n networks that are `base` with the given sizes.

    Shape: see `costs`; every size becomes an array (n,).
    Raises: ArchError, see `costs`.
    """
    return _to_sizes(base, _to_arrays(base, sizes))


def network_rows(sizes: Sizes[N]) -> tuple[CostTerms[N], ...]:
    """Cost of the stem, of each stage, and of the head, in that order. Shape: of the sizes."""
    width, tokens = sizes.stem_width, sizes.stem_tokens
    conv = layer_cost(width, width, area=9, tokens=tokens, norms=1)
    first = layer_cost(sizes.in_chans, width, area=9, tokens=tokens, norms=1)
    rows = [first + conv + conv]
    for stage in sizes.stages:
        rows.append(stage_cost(stage, c_in=width))
        width = stage.width
    neck = sizes.neck_width
    head = layer_cost(width, neck, tokens=sizes.stages[-1].tokens, norms=1)
    if sizes.num_classes:
        head = head + layer_cost(neck, cast(Any, sizes.num_classes), tokens=cast(Any, 1))
    rows.append(head)
    return tuple(rows)


def total(rows: Sequence[CostTerms[N]]) -> CostTerms[N]:
    """Sum of the rows."""
    return reduce(operator.add, rows)


def stage_cost(stage: StageSizes[N], *, c_in: N | int) -> CostTerms[N]:
    """Cost of a stage: patch embedding, blocks, and position tables.

    Shape: each table (heads, tokens, kv_tokens); it is added without multiplications.
    """
    embedding = layer_cost(c_in, stage.width, area=4, tokens=stage.tokens, norms=1)
    terms = embedding + block_cost(stage).times(stage.depth)
    if stage.position == "none":
        return terms
    table = stage.tokens * stage.kv_tokens * stage.heads
    tables = table if stage.position == "stage" else table * stage.depth
    return replace(terms, params=terms.params + tables)


def block_cost(stage: StageSizes[N]) -> CostTerms[N]:
    """Cost of one block: local perception unit, attention, feed-forward, two LayerNorms."""
    lpu = layer_cost(1, stage.width, area=9, tokens=stage.tokens, norms=2)
    return lpu + attention_cost(stage) + irffn_cost(stage)


def attention_cost(stage: StageSizes[N]) -> CostTerms[N]:
    """Cost of the LMHSA: projections, strided keys and values, and the two attention products.

    Shape: (1, tokens, width) in and out.
    """
    width, qk, tokens, kv_tokens = stage.width, stage.qk_width, stage.tokens, stage.kv_tokens
    q, k = (layer_cost(width, qk, tokens=count) for count in (tokens, kv_tokens))
    out, v = (layer_cost(width, width, tokens=count) for count in (tokens, kv_tokens))
    terms = q + k + v + out
    if stage.kv_stride > 1:
        terms = terms + layer_cost(1, width, area=stage.kv_stride**2, tokens=kv_tokens, norms=1)
    products = tokens * kv_tokens * (qk + width)  # queries by keys, weights by values
    return replace(terms, macs=terms.macs + products)


def irffn_cost(stage: StageSizes[N]) -> CostTerms[N]:
    """Cost of the inverted residual feed-forward network.

    Shape: (1, width, h, w) in and out, h * w = tokens.
    """
    width, hidden, tokens = stage.width, stage.hidden, stage.tokens
    expand = layer_cost(width, hidden, tokens=tokens, norms=1)
    local = layer_cost(1, hidden, area=9, tokens=tokens, norms=1)
    project = layer_cost(hidden, width, tokens=tokens, norms=1)
    return expand + local + project


def layer_cost(
    c_in: N | int, c_out: N, *, tokens: N, area: int = 1, norms: int = 0
) -> CostTerms[N]:
    """Cost of a convolution or linear with bias, and of norms on its output.

    `c_in` is 1 if the convolution is depthwise; `area` is kernel height times width. A BatchNorm or
    LayerNorm has a scale and a shift, and no MACs by definition.
    Shape: (1, tokens, c_out) out.
    """
    weights = c_in * c_out * area
    return CostTerms(
        params=weights + c_out * (1 + 2 * norms), macs=weights * tokens, activations=c_out * tokens
    )


def _to_dict(terms: CostTerms[N]) -> dict[str, N]:
    return {name: getattr(terms, name) for name in _COSTS}


def _base_sizes(arch: Arch) -> dict[str, Any]:
    """Sizes by name; those of stages are lists."""
    ends = {name: getattr(arch, name) for name in _NETWORK_SIZES}
    return ends | {name: [getattr(s, name) for s in arch.stages] for name in _STAGE_SIZES}


def _to_sizes(
    arch: Arch, values: Mapping[str, Any], *, input_size: tuple[int, int] | None = None
) -> Sizes[Any]:
    """Add the maps, each padded up to its stride, to sizes by name.

    Shape: values () or (n,); of stages, sequences of these.
    """
    height, width = input_size or (values["resolution"],) * 2
    height, width = _ceil_div(height, arch.stem_stride), _ceil_div(width, arch.stem_stride)
    stem_tokens = height * width
    stages = []
    for i, stage in enumerate(arch.stages):
        height, width = _ceil_div(height, 2), _ceil_div(width, 2)
        stages.append(
            StageSizes(
                **{name: values[name][i] for name in _STAGE_SIZES},
                tokens=height * width,
                kv_tokens=_ceil_div(height, stage.kv_stride) * _ceil_div(width, stage.kv_stride),
                kv_stride=stage.kv_stride,
                position=arch.position,
            )
        )
    return Sizes(
        in_chans=arch.in_chans,
        stem_width=values["stem_width"],
        stem_tokens=stem_tokens,
        stages=tuple(stages),
        neck_width=values["neck_width"],
        num_classes=arch.num_classes,
    )


def _ceil_div(pixels: N, stride: int) -> N:
    return -(-pixels // stride)


def _to_arrays(base: Arch, sizes: Mapping[str, ArrayLike]) -> dict[str, Array]:
    """Validate the sizes, add the base's where one is missing, and broadcast them.

    Shape: (n,) for the network's, (stages, n) for the stages'.
    """
    base_sizes = _base_sizes(base)
    if unknown := sorted(sizes.keys() - base_sizes.keys()):
        raise ArchError(f"unknown size {unknown[0]}; use {', '.join(base_sizes)}")
    arrays = {
        name: _to_array(name, sizes.get(name, value), stages=len(base.stages))
        for name, value in base_sizes.items()
    }
    try:
        (n,) = np.broadcast_shapes(*(array.shape[-1:] for array in arrays.values()))
    except ValueError:
        lengths = {name: array.shape[-1] for name, array in arrays.items()}
        given = ", ".join(f"{name} {length}" for name, length in lengths.items() if length > 1)
        raise ArchError(f"arrays of different lengths: {given}; give a row per network") from None
    head_dim, remainder = np.divmod(arrays["width"], arrays["heads"])
    if remainder.any():
        raise ArchError("width: some are not divisible by their heads; use multiples of heads")
    ratios = np.array([(s.mlp_ratio, s.qk_ratio) for s in base.stages]).T[..., None]
    if "hidden" not in sizes:  # rounded as Stage.hidden and Stage.qk_width
        arrays["hidden"] = (arrays["width"] * ratios[0]).astype(np.int64)
    if "qk_width" not in sizes:
        arrays["qk_width"] = (head_dim * ratios[1]).astype(np.int64) * arrays["heads"]
    if min(arrays["hidden"].min(), arrays["qk_width"].min()) < 1:
        raise ArchError("width: some leave no hidden or query channels; use wider ones")
    return {name: np.broadcast_to(a, (*a.shape[:-1], n)) for name, a in arrays.items()}


def _to_array(name: str, values: ArrayLike, *, stages: int) -> Array:
    """Validate an array of sizes.

    Shape: () or (n,) to (n,); of stages, (stages,) or (n, stages) to (stages, n).
    """
    array = np.asarray(values)
    tail = () if name in _NETWORK_SIZES else (stages,)
    if not np.issubdtype(array.dtype, np.integer):
        raise ArchError(f"{name}: dtype {array.dtype} is not integer; round, then cast to int64")
    if array.ndim - len(tail) not in (0, 1) or array.shape[array.ndim - len(tail) :] != tail:
        shapes = f"(n, {stages}) or ({stages},)" if tail else "(n,) or one value"
        raise ArchError(f"{name}: has the shape {array.shape}; give {shapes}")
    if not array.size or array.min() < 1 or array.max() > _MAX_SIZE:
        given = f"{array.min()} to {array.max()}" if array.size else "nothing"
        raise ArchError(f"{name}: {given} is outside 1 to {_MAX_SIZE}; give sizes in that range")
    return np.ascontiguousarray(array.astype(np.int64, copy=False).reshape(-1, *tail).T)
