"""The ternary map: predicted accuracy of every rule, and the rules tied with the best."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray

from cmt_search.analysis.figure_style import BLACK, FONT, VERMILLION, styled
from cmt_search.analysis.frame import REALISED
from cmt_search.analysis.study import Analysis
from cmt_search.analysis.verdict import GRID, RuleVerdict, Triangle
from cmt_search.errors import AnalysisError
from cmt_search.format import macs_text, points
from cmt_search.scaling.shares import DIMENSIONS, Shares
from cmt_search.stats import SMALLEST_EFFECT, equivalence_set

Floats = NDArray[np.float64]

_WIDTH, _HEIGHT = 1000, 700
_MARGIN = {"l": 70, "r": 150, "t": 110, "b": 60}
_DOT = {"symbol": "circle", "size": 3.5, "color": BLACK}
_HATCH = {"symbol": "x-thin", "size": 8, "line": {"width": 1, "color": "#52606D"}}
_RING = {"symbol": "circle-open", "size": 9, "color": BLACK, "line": {"width": 1.4, "color": BLACK}}
_STAR = {"symbol": "star", "size": 20, "color": "#F0E442", "line": {"width": 1.5, "color": BLACK}}
_CHOSEN = {
    "symbol": "cross-open",
    "size": 20,
    "color": VERMILLION,
    "line": {"width": 3, "color": VERMILLION},
}
_HOVER = "depth %{b:.2f}, width %{c:.2f}, resolution %{a:.2f}<extra></extra>"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TriangleData:
    """Data of the ternary map."""

    triangle: Triangle
    verdict: RuleVerdict
    measured: Floats  # (n, 3) realised shares of the networks at the largest budget
    named: Mapping[str, Shares]
    budget: float  # MACs that the surface is for
    extrapolated: bool = False  # the budget is outside of those that were measured


def triangle_data(analysis: Analysis, *, budget: float | None = None) -> TriangleData:
    """Compute the ternary map, at the verdict's budget or at another in MACs.

    Raises:
        AnalysisError: the study has no surface; the message has the reason.
    """
    if analysis.triangle is None or analysis.verdict is None:
        raise AnalysisError(f"the triangle cannot be drawn: {analysis.no_verdict}")
    table = analysis.front.networks
    largest = table[
        (table["budget"] == analysis.verdict.budget) & table[REALISED].notna().all(axis=1)
    ]
    assert analysis.surface is not None
    budgets = analysis.surface.budgets
    asked = analysis.verdict.budget if budget is None else budget
    same = math.isclose(asked, analysis.verdict.budget, rel_tol=1e-3)
    return TriangleData(
        triangle=analysis.triangle if same else _triangle_at(analysis, budget=asked),
        verdict=analysis.verdict,
        measured=largest[REALISED].to_numpy(dtype=float),
        named=analysis.named,
        budget=asked,
        extrapolated=not same and not min(budgets) * 0.99 <= asked <= max(budgets) * 1.01,
    )


def _triangle_at(analysis: Analysis, *, budget: float) -> Triangle:
    """The surface at another budget; what is feasible stays that of the verdict's."""
    surface, triangle, verdict = analysis.surface, analysis.triangle, analysis.verdict
    assert surface is not None
    assert triangle is not None
    assert verdict is not None
    assert analysis.paper is not None
    log_macs_ratio = float(surface.log_macs_ratios[-1]) + math.log(
        budget / float(surface.budgets[-1])
    )
    effect = surface.effect(triangle.shares, log_macs_ratio=log_macs_ratio)
    to_paper = effect - surface.effect(analysis.paper.values, log_macs_ratio=log_macs_ratio)
    equivalent = np.zeros(len(triangle.shares), dtype=bool)
    equivalent[triangle.feasible] = equivalence_set(
        effect[:, triangle.feasible], margin=verdict.margin
    )
    return replace(
        triangle,
        difference=to_paper.mean(axis=0),
        se=to_paper.std(axis=0),
        equivalent=equivalent,
    )


def draw_triangle(data: TriangleData, *, chosen: Shares | None = None) -> go.Figure:
    """Draw the ternary map; `chosen` is a point to mark."""
    figure = go.Figure()
    triangle, verdict = data.triangle, data.verdict
    _add_surface(figure, triangle)
    equal = f"within {points(verdict.margin)} pp of the best<br>(statistically tied)"
    _add_marks(figure, triangle.shares[triangle.equivalent], name=equal, marker=_DOT)
    if not triangle.feasible.all():
        beyond = "beyond native resolution<br>(interpolated, excluded)"
        _add_marks(figure, triangle.shares[~triangle.feasible], name=beyond, marker=_HATCH)
    _add_marks(figure, data.measured, name="measured network", marker=_RING)
    _add_named(figure, data.named)
    best = "best rule" if verdict.status == "resolved" else "best guess"
    _add_marks(figure, np.array([verdict.best.values]), name=best, marker=_STAR)
    if chosen is not None:
        _add_marks(figure, np.array([chosen.values]), name="chosen point", marker=_CHOSEN)
        # No hover text: it is dragged, and the points below it have their own.
        figure.update_traces({"hoverinfo": "skip", "hovertemplate": None}, selector=-1)
    _style_ternary(figure, data.named)
    beyond = ", extrapolated" if data.extrapolated else ""
    return styled_triangle(
        figure,
        title=_title(data),
        subtitle=(
            f"Predicted top-1 against the paper's rule at {macs_text(data.budget)}{beyond}; "
            "every point spends the same MACs"
        ),
    )


def draw_rule_map(named: Mapping[str, Shares], *, title: str, subtitle: str) -> go.Figure:
    """Draw where rules stand, without a surface."""
    figure = go.Figure()
    _add_named(figure, named)
    _style_ternary(figure, named)
    return styled_triangle(figure, title=title, subtitle=subtitle)


def styled_triangle(figure: go.Figure, *, title: str, subtitle: str) -> go.Figure:
    """The common look, at the fixed size that the grid's cells are drawn for."""
    styled(figure, title=title, subtitle=subtitle, height=_HEIGHT)
    figure.update_layout(
        width=_WIDTH,
        margin=_MARGIN,
        legend={"x": 1.0, "xanchor": "right", "y": 1.0, "yanchor": "top"},
    )
    return figure


def _title(data: TriangleData) -> str:
    verdict = data.verdict
    if verdict.status == "tie":
        return f"Tie: {verdict.tied_fraction:.0%} of the triangle is as good as the best"
    if verdict.status == "resolved":
        return f"Resolved: {verdict.tied_fraction:.0%} of the triangle is as good as the best"
    return "Unresolved: this map is a guess, not a finding"


def _add_marks(
    figure: go.Figure, shares: Floats, *, name: str, marker: Mapping[str, object]
) -> None:
    depth, width, resolution = shares.T if len(shares) else ([], [], [])
    figure.add_scatterternary(
        a=resolution,
        b=depth,
        c=width,
        mode="markers",
        name=name,
        marker=dict(marker),
        cliponaxis=False,
        hovertemplate=_HOVER,
    )


def _add_surface(figure: go.Figure, triangle: Triangle) -> None:
    shown = triangle.feasible
    difference = 100 * triangle.difference
    reach = max(float(np.abs(difference[shown]).max()), 100 * SMALLEST_EFFECT)
    for mask, opacity in ((shown, 1.0), (~shown, 0.35)):
        depth, width, resolution = triangle.shares[mask].T
        figure.add_scatterternary(
            a=resolution,
            b=depth,
            c=width,
            mode="markers",
            showlegend=False,
            opacity=opacity,
            marker={
                "symbol": "hexagon",
                "size": _cell_size(),
                "color": difference[mask],
                "colorscale": "RdBu",
                "cmin": -reach,
                "cmax": reach,
                "showscale": opacity == 1.0,
                "colorbar": {
                    "title": {"text": "top-1 against<br>the paper's<br>rule (pp)"},
                    "len": 0.5,
                    "y": 0.3,
                    "x": 0.94,
                    "thickness": 16,
                },
            },
            customdata=100 * triangle.se[mask],
            hovertemplate=(
                "depth %{b:.2f}, width %{c:.2f}, resolution %{a:.2f}<br>"
                "%{marker.color:+.2f} pp, SE %{customdata:.2f}<extra></extra>"
            ),
        )


def _cell_size() -> float:
    """Diameter in pixels of hexagons that tile the triangle at the figure's fixed size."""
    width = _WIDTH - _MARGIN["l"] - _MARGIN["r"]
    height = _HEIGHT - _MARGIN["t"] - _MARGIN["b"]
    side = min(width, height / (math.sqrt(3) / 2))
    return 2 / math.sqrt(3) * side / GRID * 1.04  # a little overlap hides the seams


def _add_named(figure: go.Figure, named: Mapping[str, Shares]) -> None:
    table = pd.DataFrame([shares.values for shares in named.values()], columns=REALISED)
    figure.add_scatterternary(
        a=table["realised_resolution"],
        b=table["realised_depth"],
        c=table["realised_width"],
        mode="markers+text",
        name="named rule",
        cliponaxis=False,
        # The corners' names are in the axis titles, where they do not overlap ticks.
        text=["" if _corner(shares) else f" <b>{name}</b> " for name, shares in named.items()],
        hovertext=list(named),
        textposition=[_text_position(shares) for shares in named.values()],
        textfont={"size": 12, "color": BLACK, "family": FONT, "shadow": "auto"},
        marker={
            "symbol": "diamond",
            "size": 10,
            "color": "white",
            "line": {"width": 2, "color": BLACK},
        },
        hovertemplate=f"%{{hovertext}}<br>{_HOVER}",
    )


def _text_position(shares: Shares) -> str:
    """Beside its marker, on the side where the neighbouring rules' labels are not."""
    if abs(shares.width - shares.depth) < 0.05:
        return "bottom center" if shares.resolution < 0.4 else "top center"
    return "middle right" if shares.width > shares.depth else "middle left"


def _corner(shares: Shares) -> bool:
    return max(shares.values) > 0.99


def _style_ternary(figure: go.Figure, named: Mapping[str, Shares]) -> None:
    corners = {
        int(np.argmax(shares.values)): name for name, shares in named.items() if _corner(shares)
    }
    axes = {}
    for i, (name, dimension) in enumerate(
        zip(("baxis", "caxis", "aaxis"), DIMENSIONS, strict=True)
    ):
        # A second line would run into the marker at the top.
        gap = ", " if name == "aaxis" else "<br>"
        title = f"{dimension} share" + (f"{gap}<b>{corners[i]}</b>" if i in corners else "")
        axes[name] = {
            "title": {"text": title},
            "tickvals": [0.2, 0.4, 0.6, 0.8],
            "tickformat": ".1f",
            "gridcolor": "rgba(0, 0, 0, 0.10)",
        }
    figure.update_layout(ternary={"sum": 1, "bgcolor": "white", **axes})
