"""Arch -> Cost, exact: parameters, MACs and activations, a row per stage; or of many at once."""

from dataclasses import asdict, dataclass
from typing import Any, Unpack

import numpy as np

from cmt_search.arch import Arch
from cmt_search.cost.formula import Array, Sizes, Terms, network_rows, total
from cmt_search.cost.sizes import Columns, checked, each_size, sizes_in, sizes_of
from cmt_search.errors import ArchError

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


def costs(base: Arch, **given: Unpack[Columns]) -> Terms[Array]:
    """What `cost` says of each of n networks, to the digit; a million of them a second.

    The networks are `base` but for the columns given: costs(base, depth=depths, width=widths).
    Shape: see `Columns`; to 64-bit integers (n,).
    Units: see `Terms`.
    Raises:
        ArchError: a column is of another shape or kind, see `Columns`; a width is not divisible by
            its heads; or some counts may not fit into 64 bits, which takes sizes near the largest
            allowed, 2^31 - 1.
    """
    columns = checked(base, given)
    parts = []
    for start in range(0, len(columns["resolution"]), _AT_ONCE):
        some = {name: column[start : start + _AT_ONCE] for name, column in columns.items()}
        sizes = sizes_in(some, base=base)
        _refuse_overflow(sizes)
        parts.append(total(network_rows(sizes)))
    return Terms(
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
