"""The report's other figures, as the explorer shows them."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import plotly.graph_objects as go

from cmt_search.analysis import (
    Analysis,
    curves_data,
    draw_curves,
    draw_failures,
    draw_importances,
    draw_progress,
    draw_timeline,
    draw_triangle,
    failures_data,
    importances_data,
    progress_data,
    timeline_data,
    triangle_data,
)
from cmt_search.analysis.figure_style import without_empty_axes
from cmt_search.errors import AnalysisError
from cmt_search.explorer.front_view import keep_view
from cmt_search.scaling import Shares
from cmt_search.search import TrialRecord
from cmt_search.search.importance import Evaluator
from cmt_search.space import Parameter


def triangle_figure(
    analysis: Analysis, *, budget: float | None = None, chosen: Shares | None = None
) -> go.Figure | None:
    """The ternary map; None where the study holds no verdict on rules."""
    if analysis.triangle is None or analysis.verdict is None:
        return None
    figure = draw_triangle(triangle_data(analysis, budget=budget), chosen=chosen)
    return keep_view(figure, view="triangle")


def curves_figure(analysis: Analysis) -> go.Figure:
    """The learning curves of all trainings."""
    return keep_view(draw_curves(curves_data(analysis)), view="curves")


def trial_curves_figure(analysis: Analysis, *records: TrialRecord) -> go.Figure | None:
    """The learning curves of one trial or two, small enough for the panel; None: none is there."""
    data = curves_data(replace(analysis, records=records))
    if not data.groups:
        return None
    figure = draw_curves(data)
    if len(records) > 1:
        _tell_apart(figure, second=records[1].number)
    figure.update_layout(
        title=None,
        height=290,
        margin={"l": 50, "r": 8, "t": 8, "b": 80},
        legend={"orientation": "h", "y": -0.25, "yanchor": "top", "font": {"size": 11}},
    )
    figure.update_yaxes(title={"text": "top-1 (%)"})
    return keep_view(figure, view=f"curves of trials {[record.number for record in records]}")


def progress_figure(analysis: Analysis) -> go.Figure:
    """Hypervolume and best so far."""
    return keep_view(draw_progress(progress_data(analysis)), view="progress")


def timeline_figure(analysis: Analysis) -> go.Figure:
    """Which trials ran when."""
    figure = draw_timeline(timeline_data(analysis))
    return without_empty_axes(keep_view(figure, view="timeline"))


def failures_figure(analysis: Analysis) -> go.Figure | None:
    """Failures by reason; None: there are none."""
    counts = failures_data(analysis)
    return draw_failures(counts) if counts else None


def importances_figure(
    analysis: Analysis, *, parameters: Sequence[Parameter], metric: str, judge: str
) -> go.Figure | str:
    """What decides a metric, or the reason why that cannot be said."""
    how: Evaluator = "fanova" if judge == "fanova" else "ped-anova"
    try:
        parts = importances_data(analysis, parameters=parameters, metric=metric, how=how)
    except AnalysisError as error:
        return str(error)
    return draw_importances(parts, metric=metric, how=how)


@cache  # plotly takes 20 ms to make one, and a page has nine
def blank_figure() -> go.Figure:
    """Nothing, without the axes and the ground that an empty figure shows; not to be changed."""
    hidden, clear = {"visible": False}, "rgba(0, 0, 0, 0)"
    return go.Figure(
        layout={
            **{"xaxis": hidden, "yaxis": hidden, "template": "plotly_white"},
            **{"paper_bgcolor": clear, "plot_bgcolor": clear},
        }
    )


def _tell_apart(figure: go.Figure, *, second: int) -> None:
    """Mark the second trial's epochs by another symbol: two trials share colours of budgets."""
    for trace in figure.data:
        symbols = [
            "square-open" if f"(trial {second}," in text else "circle" for text in trace.text
        ]
        trace.marker.symbol = symbols
        trace.marker.size = 7
