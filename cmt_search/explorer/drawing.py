"""A network drawn: a box per part, as wide as its share of the MACs, as high as its channels."""

import math
from typing import Any

from dash import html

from cmt_search.arch import Arch
from cmt_search.cost import cost, sizes_of

_HIGHEST = 84  # pixels, of the widest part
_LOWEST = 16


def stage_rows(arch: Arch) -> list[dict[str, str]]:
    """A network by part: blocks, channels, side of the map in pixels, share of the MACs."""
    return [
        {
            "part": name,
            "blocks": str(blocks or ""),
            "channels": str(channels),
            "side": str(side),
            "MACs": f"{share:.0%}",
        }
        for name, blocks, channels, side, share in _parts(arch)
    ]


def network_drawing(arch: Arch) -> Any:
    """The boxes; a line in a box for every block, so that depth is seen as well."""
    parts = _parts(arch)
    widest = max(channels for _, _, channels, _, _ in parts[:-1])
    described = "; ".join(
        f"{name}: {blocks or 1} x {channels} channels at {side} px, {share:.0%} of the MACs"
        for name, blocks, channels, side, share in parts
    )
    return html.Div(
        [_box(*part, widest=widest) for part in parts],
        className="drawing",
        role="img",
        **{"aria-label": described},
    )


def _box(name: str, blocks: int, channels: int, side: int, share: float, *, widest: int) -> Any:
    height = _LOWEST + (_HIGHEST - _LOWEST) * min(1.0, math.sqrt(channels / widest))
    inside = {"height": f"{height:.0f}px", "--blocks": max(blocks, 1)}
    text = f"{blocks}\N{MULTIPLICATION SIGN}{channels}" if blocks else str(channels)
    return html.Div(
        [
            html.Div(className="blocks", style=inside),
            html.B(name.replace("stage", "S")),
            html.Span(text),
            html.Span(f"{side} px"),
            html.Span(f"{share:.0%}"),
        ],
        className="part",
        style={"flexGrow": f"{max(share, 0.02):.4f}"},
        title=f"{name}: {text} channels, {side} px, {share:.1%} of the MACs",
    )


def _parts(arch: Arch) -> list[tuple[str, int, int, int, float]]:
    """Name, blocks, channels, side and share of the MACs; stem and head have no blocks."""
    sizes, whole = sizes_of(arch), cost(arch)
    stages = [
        (stage.depth, stage.width, math.isqrt(size.tokens))  # maps are square
        for stage, size in zip(arch.stages, sizes.stages, strict=True)
    ]
    stem = (0, arch.stem_width, math.isqrt(sizes.stem_tokens))
    parts = [stem, *stages, (0, arch.neck_width, 1)]
    return [
        (row.name, *part, row.macs / whole.macs)
        for row, part in zip(whole.rows, parts, strict=True)
    ]
