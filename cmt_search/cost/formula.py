"""The closed form: what each part of a network costs, over plain integers or whole arrays.

Every function is polynomial in its sizes and does no rounding, so the same lines count one network
exactly, many at once, and a smooth continuation between networks. MACs are multiply-accumulates of
convolutions, linears and attention products; the CMT paper prints this quantity as "FLOPs".
Source: CMT, arXiv:2107.06263, and its official code.
"""

from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast

from numpy.typing import NDArray

Array = NDArray[Any]
N = TypeVar("N", int, Array)


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms(Generic[N]):
    """Cost of a part.

    Units: params are trainable scalars; macs are multiply-accumulates of one image; activations are
    elements of all convolution and linear outputs of one image.
    """

    params: N
    macs: N
    activations: N

    def __add__(self, other: "Terms[N]") -> "Terms[N]":
        return Terms(
            params=_sum(self.params, other.params),
            macs=_sum(self.macs, other.macs),
            activations=_sum(self.activations, other.activations),
        )

    def times(self, count: N) -> "Terms[N]":
        """The cost of `count` such parts."""
        return Terms(
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


def dense(c_in: N, c_out: N, *, area: int, tokens: N) -> Terms[N]:
    """A convolution or linear with bias; `area` is kernel height times width, 1 for a linear."""
    weights = c_in * c_out * area
    return Terms(params=weights + c_out, macs=weights * tokens, activations=c_out * tokens)


def depthwise(width: N, *, area: int, tokens: N) -> Terms[N]:
    """A depthwise convolution with bias."""
    weights = width * area
    return Terms(params=weights + width, macs=weights * tokens, activations=width * tokens)


def norm(width: N) -> Terms[N]:
    """A BatchNorm or LayerNorm: scale and shift, no MACs by definition."""
    return Terms(params=width * 2, macs=_like(width, 0), activations=_like(width, 0))


def attention_cost(stage: StageSizes[N]) -> Terms[N]:
    """Cost of the LMHSA: projections, strided keys and values, and the two attention products.

    Shape: (1, tokens, width) in and out.
    """
    width, qk, tokens, kv_tokens = stage.width, stage.qk, stage.tokens, stage.kv_tokens
    q, k = (dense(width, qk, area=1, tokens=count) for count in (tokens, kv_tokens))
    out, v = (dense(width, width, area=1, tokens=count) for count in (tokens, kv_tokens))
    macs = tokens * kv_tokens * (qk + width)  # queries by keys, weights by values
    products = Terms(params=_like(width, 0), macs=macs, activations=_like(width, 0))
    total = (q + out) + (k + v) + products
    if stage.kv_stride > 1:
        total = total + depthwise(width, area=stage.kv_stride**2, tokens=kv_tokens) + norm(width)
    return total


def irffn_cost(stage: StageSizes[N]) -> Terms[N]:
    """Cost of the inverted residual feed-forward network.

    Shape: (1, width, h, w) in and out, h * w = tokens.
    """
    width, hidden, tokens = stage.width, stage.hidden, stage.tokens
    expand = dense(width, hidden, area=1, tokens=tokens) + norm(hidden)
    local = depthwise(hidden, area=9, tokens=tokens) + norm(hidden)
    project = dense(hidden, width, area=1, tokens=tokens) + norm(width)
    return expand + local + project


def block_cost(stage: StageSizes[N]) -> Terms[N]:
    """Cost of one block: local perception unit, attention, feed-forward, two LayerNorms."""
    lpu = depthwise(stage.width, area=9, tokens=stage.tokens)
    return lpu + norm(stage.width) + attention_cost(stage) + norm(stage.width) + irffn_cost(stage)


def position_cost(stage: StageSizes[N]) -> Terms[N]:
    """Cost of a stage's position tables, which are added without a multiplication.

    Shape: each table (heads, tokens, kv_tokens).
    """
    tables = {"stage": _like(stage.depth, 1), "block": stage.depth, "none": _like(stage.depth, 0)}
    scalars = stage.tokens * stage.kv_tokens * stage.heads * tables[stage.position]
    return Terms(params=scalars, macs=_like(scalars, 0), activations=_like(scalars, 0))


def stage_cost(stage: StageSizes[N], *, c_in: N) -> Terms[N]:
    """Cost of a stage: patch embedding, blocks, and position tables."""
    embedding = dense(c_in, stage.width, area=4, tokens=stage.tokens) + norm(stage.width)
    return embedding + block_cost(stage).times(stage.depth) + position_cost(stage)


def network_rows(sizes: Sizes[N]) -> tuple[Terms[N], ...]:
    """Cost of the stem, of each stage, and of the head, in that order.

    Shape: of the sizes; a term of a row that no array decides is a plain number.
    """
    width, tokens = sizes.stem_width, sizes.stem_tokens
    first = dense(_like(width, sizes.in_chans), width, area=9, tokens=tokens) + norm(width)
    later = dense(width, width, area=9, tokens=tokens) + norm(width)
    rows = [first + later.times(_like(width, 2))]
    for stage in sizes.stages:
        rows.append(stage_cost(stage, c_in=width))
        width = stage.width
    neck = _like(width, sizes.neck_width)
    head = dense(width, neck, area=1, tokens=sizes.stages[-1].tokens) + norm(neck)
    if sizes.num_classes:
        head = head + dense(neck, _like(neck, sizes.num_classes), area=1, tokens=_like(neck, 1))
    rows.append(head)
    return tuple(rows)


def total(rows: tuple[Terms[N], ...]) -> Terms[N]:
    """Sum of the rows."""
    result = rows[0]
    for row in rows[1:]:
        result = result + row
    return result


def _like(_kind: N, value: object) -> N:
    """A constant, as the kind of number that is counted in; beside arrays it broadcasts."""
    return cast("N", value)


def _sum(a: N, b: N) -> N:
    if isinstance(b, int) and b == 0:
        return a  # adding nothing to an array is a pass over it
    return a + b
