"""Arch -> Cost, exact: parameters, MACs and activations, a row per stage."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from cmt_search.arch import Arch
from cmt_search.cost.formula import Array, Sizes, StageSizes, network_rows, total

_COUNTS = ("depth", "width", "hidden", "qk", "tokens", "kv_tokens", "heads")


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


def sizes_of(arch: Arch, *, input_size: tuple[int, int] | None = None) -> Sizes[int]:
    """The sizes that the closed form takes, with odd maps padded up as the builder does.

    Shape: `input_size` is (height, width) in pixels; by default a square of `arch.resolution`.
    """
    height, width = input_size or (arch.resolution, arch.resolution)
    side = (_ceil(height, arch.stem_stride), _ceil(width, arch.stem_stride))
    stem_tokens = side[0] * side[1]
    stages = []
    for stage in arch.stages:
        side = (_ceil(side[0], 2), _ceil(side[1], 2))
        keys = (_ceil(side[0], stage.kv_stride), _ceil(side[1], stage.kv_stride))
        stages.append(
            StageSizes(
                depth=stage.depth,
                width=stage.width,
                hidden=stage.hidden,
                qk=stage.qk_width,
                tokens=side[0] * side[1],
                kv_tokens=keys[0] * keys[1],
                heads=stage.heads,
                kv_stride=stage.kv_stride,
                position=arch.position,
            )
        )
    return Sizes(
        in_chans=arch.in_chans,
        stem_width=arch.stem_width,
        stem_tokens=stem_tokens,
        stages=tuple(stages),
        neck_width=arch.neck_width,
        num_classes=arch.num_classes,
    )


def stacked(networks: Sequence[Sizes[int]]) -> Sizes[Array]:
    """The sizes of many networks at once, for networks that differ in counts alone.

    Shape: every count of a stage, and of the stem, becomes an array (len(networks),).
    """
    first = networks[0]
    stages = tuple(
        StageSizes(
            **{name: np.array([getattr(stage, name) for stage in row]) for name in _COUNTS},
            kv_stride=row[0].kv_stride,
            position=row[0].position,
        )
        for row in zip(*(network.stages for network in networks), strict=True)
    )
    return Sizes(
        in_chans=first.in_chans,
        stem_width=np.array([network.stem_width for network in networks]),
        stem_tokens=np.array([network.stem_tokens for network in networks]),
        stages=stages,
        neck_width=first.neck_width,
        num_classes=first.num_classes,
    )


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


def _ceil(side: int, stride: int) -> int:
    return -(-side // stride)
