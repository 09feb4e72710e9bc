"""One look for all figures: light, readable, and safe for colour-blind readers (Okabe and Ito)."""

from collections.abc import Sequence

import plotly.graph_objects as go
from plotly.colors import sample_colorscale

BLUE = "#0072B2"
VERMILLION = "#D55E00"
GREEN = "#009E73"
ORANGE = "#E69F00"
SKY = "#56B4E9"
PURPLE = "#CC79A7"
BLACK = "#1F2933"
GREY = "#9AA5B1"
RULE_COLOURS = ("#56B4E9", "#CC79A7", "#E69F00", "#009E73", "#8C6D31", "#5D3A9B", "#4B5563")
RULE_SYMBOLS = ("circle", "square", "diamond", "triangle-up", "triangle-down", "pentagon", "cross")
PAPER_RULE = "cmt-paper"
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"


def styled(figure: go.Figure, *, title: str, subtitle: str = "", height: int = 520) -> go.Figure:
    """Give a figure the common look; the title says the finding."""
    figure.update_layout(
        template="plotly_white",
        title={
            "text": title,
            "subtitle": {"text": subtitle, "font": {"size": 13, "color": "#52606D"}},
            "x": 0.01,
            "xanchor": "left",
            "y": 0.97,
            "yanchor": "top",
            "font": {"size": 18, "color": BLACK},
        },
        font={"family": FONT, "size": 13, "color": BLACK},
        margin={"l": 70, "r": 30, "t": 90, "b": 65},
        height=height,
        legend={"font": {"size": 12}, "itemsizing": "constant", "traceorder": "normal"},
        hoverlabel={"font": {"family": FONT, "size": 12}},
        paper_bgcolor="white",
        plot_bgcolor="white",
    )
    return figure


def without_empty_axes(figure: go.Figure) -> go.Figure:
    """Where nothing is drawn yet the title says so, and axes would mean nothing."""
    for trace in figure.data:
        if trace.type == "parcoords" or (trace.x is not None and len(trace.x)):
            return figure
    figure.update_xaxes(visible=False).update_yaxes(visible=False)
    return figure.update_layout(height=110, showlegend=False)


def ordered_colours(count: int) -> list[str]:
    """Colours for `count` ordered things, dark to light, none too pale for white."""
    stops = [0.05 + 0.75 * i / max(count - 1, 1) for i in range(count)]
    colours: list[str] = sample_colorscale("Viridis", stops)
    return colours


def rule_looks(names: Sequence[str]) -> dict[str, tuple[str, str]]:
    """A colour and a marker for each named rule; the paper's own are fixed."""
    others = [name for name in names if name != PAPER_RULE]
    looks = {
        name: (RULE_COLOURS[i % len(RULE_COLOURS)], RULE_SYMBOLS[i % len(RULE_SYMBOLS)])
        for i, name in enumerate(others)
    }
    return {name: looks.get(name, (VERMILLION, "diamond-tall")) for name in names}


def short_macs(macs: float) -> str:
    """MACs as a tick label."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if macs >= size:
            return f"{macs / size:.3g}{unit}"
    return f"{macs:.3g}"


def log_ticks(low: float, high: float) -> list[float]:
    """Few round ticks for a logarithmic axis."""
    decades = [10.0**k for k in range(-2, 16)]
    for steps in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 6, 8)):
        ticks = [s * d for d in decades for s in steps if low * 0.95 <= s * d <= high * 1.05]
        if len(ticks) >= 4:
            break
    return ticks
