"""Accuracy against MACs: curves of rules with their bands, and what was measured."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go

from cmt_search.analysis.figure_style import GREY, log_ticks, rule_looks, short_macs, styled
from cmt_search.analysis.law_rows import family_rows
from cmt_search.analysis.law_values import FamilyPoint, FitFailure
from cmt_search.analysis.scaling_laws import BEYOND, points_of
from cmt_search.analysis.study import Analysis
from cmt_search.format import macs_text
from cmt_search.stats import Prediction

_STEPS = 40  # along a curve
_NOTE = (
    "Dark band: 95% interval of the curve. Light band: of one further training. "
    "Right of the dashed line nothing was measured"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class AccuracyData:
    """Data of the figure of accuracy against MACs."""

    curves: Mapping[str, tuple[Prediction, ...]]  # by rule, by growing MACs
    points: Mapping[str, tuple[FamilyPoint, ...]]  # of every named rule that was measured
    largest: float  # MACs measured; beyond lies prediction


def accuracy_data(analysis: Analysis) -> AccuracyData | None:
    """Compute the curves of the rules that have a law; None: no rule has."""
    families = analysis.laws.families if analysis.laws else ()
    laws = {f.rule: f.law for f in families if not isinstance(f.law, FitFailure)}
    if not laws:
        return None
    found = {n: points_of(family_rows(analysis.frame, rule=n)) for n in analysis.named}
    points = {name: rows for name, rows in found.items() if rows}
    sizes = [point.macs for rows in points.values() for point in rows]
    macs = np.geomspace(min(sizes), BEYOND * max(sizes), _STEPS).tolist()
    return AccuracyData(
        curves={name: tuple(law.predict(one) for one in macs) for name, law in laws.items()},
        points=points,
        largest=max(sizes),
    )


def draw_accuracy(data: AccuracyData) -> go.Figure:
    """Draw accuracy against MACs."""
    figure = go.Figure()
    looks = rule_looks(list(data.points))
    for name, curve in data.curves.items():
        _add_curve(figure, curve, name=name, colour=looks[name][0])
    for name, points in data.points.items():
        colour, symbol = looks[name]
        figure.add_scatter(
            x=[point.macs for point in points],
            y=[100 * point.top1 for point in points],
            mode="markers",
            name=name,
            opacity=1.0 if name in data.curves else 0.45,
            marker={"color": colour, "symbol": symbol, "size": 8},
            text=[f"seed {point.seed}" for point in points],
            hovertemplate=f"{name}, %{{text}}: %{{y:.1f}}% at %{{x:.4s}} MACs<extra></extra>",
        )
    figure.add_vline(x=data.largest, line={"color": GREY, "width": 1, "dash": "dash"})
    ticks = log_ticks(*_ends(data))
    figure.update_xaxes(
        type="log", title="MACs", tickvals=ticks, ticktext=[short_macs(tick) for tick in ticks]
    )
    figure.update_yaxes(title="top-1, %")
    return styled(figure, title=_title(data), subtitle=_NOTE)


def _add_curve(figure: go.Figure, curve: tuple[Prediction, ...], *, name: str, colour: str) -> None:
    macs = [one.macs for one in curve]
    further = [(one.next_low, one.next_high) for one in curve]
    mean = [(one.low, one.high) for one in curve]
    for ends, opacity in ((further, 0.10), (mean, 0.25)):
        figure.add_scatter(
            x=[*macs, *macs[::-1]],
            y=[100 * high for _, high in ends] + [100 * low for low, _ in ends[::-1]],
            fill="toself",
            fillcolor=colour,
            opacity=opacity,
            line={"width": 0},
            mode="lines",
            hoverinfo="skip",
            showlegend=False,
        )
    figure.add_scatter(
        x=macs,
        y=[100 * one.value for one in curve],
        mode="lines",
        name=f"{name}, curve",
        line={"color": colour, "width": 2},
        hovertemplate=f"{name}: %{{y:.1f}}% at %{{x:.4s}} MACs<extra></extra>",
    )


def _ends(data: AccuracyData) -> tuple[float, float]:
    macs = [one.macs for curve in data.curves.values() for one in curve]
    return min(macs), max(macs)


def _title(data: AccuracyData) -> str:
    said = [
        f"{name} {100 * curve[-1].low:.1f} to {100 * curve[-1].high:.1f}%"
        for name, curve in data.curves.items()
    ]
    return f"Expected at {macs_text(BEYOND * data.largest)}: {', '.join(said)}"
