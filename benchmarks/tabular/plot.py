"""Regret against compute, with bands."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from cmt_search.analysis.figure_style import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    SKY,
    VERMILLION,
    styled,
)
from cmt_search.analysis.images import write_images

LOOKS = {
    "design": (GREEN, "solid"),
    "gp": (BLUE, "solid"),
    "tpe": (ORANGE, "solid"),
    "sobol": (GREEN, "dot"),
    "nsga2": (SKY, "solid"),
    "cmaes": (PURPLE, "solid"),
    "grid": (GREY, "dot"),
    "random": (BLACK, "dash"),
    "random, posterior": (GREY, "dash"),
    "random, one budget": (BLACK, "dot"),
    "ASHA (Syne Tune)": (VERMILLION, "solid"),
}
PANELS = (("rule", False), ("rule", True), ("shape", False), ("shape", True))
POSTERIOR = ("design", "gp")  # of a rule search: what answers so by itself
_BAND = 0.13  # opacity

Row = dict[str, Any]


def plot_regret(rows: Sequence[Row], *, to: Path) -> Path:
    """Write the figure: searches of rules and of shapes, without halving and with it."""
    titles = [
        f"{'Rules' if kind == 'rule' else 'Shapes'}, {'with' if halving else 'without'} halving"
        for kind, halving in PANELS
    ]
    figure = make_subplots(
        rows=2, cols=2, subplot_titles=titles, shared_yaxes="rows", vertical_spacing=0.13
    )
    shown: set[str] = set()
    for index, (kind, halving) in enumerate(PANELS):
        for name, line in _lines(rows, kind=kind, halving=halving).items():
            for trace in _traces(name, line, legend=name not in shown):
                figure.add_trace(trace, row=index // 2 + 1, col=index % 2 + 1)
            shown.add(name)
    figure.add_hline(y=0.3, line={"color": GREY, "width": 1, "dash": "dot"})
    figure.add_hline(y=0, line={"color": GREY, "width": 1})
    figure.update_xaxes(tickformat=".0%", title_text="part of the full grid's training MACs")
    figure.update_yaxes(title_text="regret, points of top1", col=1)
    styled(
        figure,
        title="Regret out of sample against compute",
        subtitle=(
            f"Means of {rows[0]['repeats']} repeats with 95% bands; dotted: the 0.3 points wanted. "
            "Rules: design and gp answer by their posterior, the others by what they measured."
        ),
        height=860,
    )
    figure.update_layout(width=1200, margin={"t": 125})
    return write_images({to.stem: figure}, to.parent, kind="png")[0]


def _lines(rows: Sequence[Row], *, kind: str, halving: bool) -> dict[str, list[Row]]:
    """Rows by searcher, each with its own answer; plain random is in every panel."""
    plain = "random, one budget" if kind == "rule" else "random"
    lines: dict[str, list[Row]] = {}
    for row in rows:
        name = row["searcher"]
        if row["kind"] != kind or row["halving"] != (halving and name != plain):
            continue
        if (row["answer"] == "posterior") == (name in POSTERIOR and kind == "rule"):
            lines.setdefault(name, []).append(row)
        elif name == "random":
            lines.setdefault("random, posterior", []).append(row)
    return {name: sorted(each, key=lambda row: row["of_grid"]) for name, each in lines.items()}


def _traces(name: str, line: Sequence[Row], *, legend: bool) -> list[go.Scatter]:
    colour, dash = LOOKS[name]
    x = [row["of_grid"] for row in line]
    low, high = ([row[f"regret_{end}"] for row in line] for end in ("low", "high"))
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    band = go.Scatter(
        x=[*x, *reversed(x)],
        y=[*high, *reversed(low)],
        mode="lines",
        fill="toself",
        fillcolor=f"rgba({red},{green},{blue},{_BAND})",
        line={"width": 0},
        hoverinfo="skip",
        showlegend=False,
        legendgroup=name,
    )
    mean = go.Scatter(
        x=x,
        y=[row["regret"] for row in line],
        mode="lines+markers",
        line={"color": colour, "dash": dash, "width": 2.5},
        marker={"size": 6},
        name=name,
        legendgroup=name,
        showlegend=legend,
    )
    return [band, mean]
