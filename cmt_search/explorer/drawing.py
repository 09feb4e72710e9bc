"""A network drawn: a box per part, as wide as its share of the MACs, as high as its channels."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any

from dash import html

from cmt_search.arch import Arch
from cmt_search.cost import cost, sizes_of

_HIGHEST = 84  # pixels, of the widest part
_LOWEST = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    name: str
    blocks: int  # 0: stem and head have none
    channels: int
    side: int  # of its maps, in pixels
    share: float  # of the network's MACs


def stage_rows(arch: Arch) -> list[dict[str, str]]:
    """A network by part: blocks, channels, side of the map in pixels, share of the MACs."""
    return [
        {
            "part": part.name,
            "blocks": str(part.blocks or ""),
            "channels": str(part.channels),
            "side": str(part.side),
            "MACs": f"{part.share:.0%}",
        }
        for part in _parts(arch)
    ]


def network_drawing(arch: Arch) -> Any:
    """The boxes; a line in a box for every block, so that depth is seen as well."""
    parts = _parts(arch)
    widest = max(part.channels for part in parts[:-1])
    described = "; ".join(
        f"{part.name}: {part.blocks or 1} x {part.channels} channels at {part.side} px, "
        f"{part.share:.0%} of the MACs"
        for part in parts
    )
    return html.Div(
        [
            html.Div([_box(part, widest=widest) for part in parts], className="boxes"),
            html.Div(_bands(parts), className="bands"),
            html.Div([_label(part) for part in parts], className="parts"),
        ],
        className="drawing",
        role="img",
        **{"aria-label": described},
    )


def _box(part: _Part, *, widest: int) -> Any:
    height = _LOWEST + (_HIGHEST - _LOWEST) * min(1.0, math.sqrt(part.channels / widest))
    look = {
        "width": f"{part.share:.4%}",
        "height": f"{height:.0f}px",
        "--blocks": max(part.blocks, 1),
    }
    return html.Div(className="blocks", style=look, title=_title(part))


def _bands(parts: Sequence[_Part]) -> list[Any]:
    """What leads from each box to its label, whose column is as wide as any other."""
    ends = [0.0, *accumulate(100 * part.share for part in parts)]
    column = 100 / len(parts)
    return [
        html.Div(
            style={
                "clipPath": f"polygon({left:.2f}% 0, {right:.2f}% 0, "
                f"{column * (i + 1):.2f}% 100%, {column * i:.2f}% 100%)"
            }
        )
        for i, (left, right) in enumerate(pairwise(ends))
    ]


def _label(part: _Part) -> Any:
    return html.Div(
        [
            html.B(part.name.replace("stage", "S")),
            html.Span(_size(part)),
            html.Span(f"{part.side} px"),
            html.Span(f"{part.share:.0%}"),
        ],
        className="part",
        title=_title(part),
    )


def _size(part: _Part) -> str:
    times = f"{part.blocks}\N{MULTIPLICATION SIGN}" if part.blocks else ""
    return f"{times}{part.channels}"


def _title(part: _Part) -> str:
    return f"{part.name}: {_size(part)} channels, {part.side} px, {part.share:.1%} of the MACs"


def _parts(arch: Arch) -> list[_Part]:
    """The stem, the stages and the head."""
    sizes, whole = sizes_of(arch), cost(arch)
    stages = [
        (stage.depth, stage.width, math.isqrt(size.tokens))  # maps are square
        for stage, size in zip(arch.stages, sizes.stages, strict=True)
    ]
    stem, head = (0, arch.stem_width, math.isqrt(sizes.stem_tokens)), (0, arch.neck_width, 1)
    return [
        _Part(name=row.name, blocks=n, channels=channels, side=side, share=row.macs / whole.macs)
        for row, (n, channels, side) in zip(whole.rows, (stem, *stages, head), strict=True)
    ]
