"""The report's other figures, as the explorer shows them."""

from dataclasses import replace

import plotly.graph_objects as go

from cmt_search.analysis import (
    Analysis,
    curves_data,
    draw_curves,
    draw_triangle,
    triangle_data,
)
from cmt_search.explorer.front_view import keep_view
from cmt_search.search import TrialRecord


def triangle_figure(analysis: Analysis) -> go.Figure | None:
    """The ternary map; None where the study holds no verdict on rules."""
    if analysis.triangle is None or analysis.verdict is None:
        return None
    return keep_view(draw_triangle(triangle_data(analysis)), view="triangle")


def curves_figure(analysis: Analysis) -> go.Figure:
    """The learning curves of all trainings."""
    return keep_view(draw_curves(curves_data(analysis)), view="curves")


def trial_curves_figure(analysis: Analysis, record: TrialRecord) -> go.Figure | None:
    """The learning curves of one trial, small enough for the panel; None: it has none."""
    data = curves_data(replace(analysis, records=(record,)))
    if not data.groups:
        return None
    figure = draw_curves(data)
    figure.update_layout(
        title=None,
        height=290,
        margin={"l": 50, "r": 8, "t": 8, "b": 80},
        legend={"orientation": "h", "y": -0.25, "yanchor": "top", "font": {"size": 11}},
    )
    figure.update_yaxes(title={"text": "top-1 (%)"})
    return keep_view(figure, view=f"curves of trial {record.number}")


def blank_figure() -> go.Figure:
    """Nothing, without the axes that an empty figure shows."""
    hidden = {"visible": False}
    return go.Figure(layout={"xaxis": hidden, "yaxis": hidden, "template": "plotly_white"})
