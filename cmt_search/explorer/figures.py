"""The report's other figures, as the explorer shows them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

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
    progress_data,
    timeline_data,
    trials_table,
    triangle_data,
)
from cmt_search.analysis.front import MAXIMISED
from cmt_search.analysis.metrics import METRICS
from cmt_search.errors import AnalysisError
from cmt_search.explorer.front_view import keep_view
from cmt_search.scaling import Shares
from cmt_search.search import TrialRecord
from cmt_search.search.importance import EVALUATORS, Evaluator, importances
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
    return keep_view(draw_timeline(timeline_data(analysis)), view="timeline")


def failures_figure(analysis: Analysis) -> go.Figure | None:
    """Failures by reason; None: there are none."""
    counts = failures_data(analysis)
    return draw_failures(counts) if counts else None


def importances_figure(
    analysis: Analysis, *, parameters: Sequence[Parameter], metric: str, judge: str
) -> go.Figure | str:
    """What decides a metric, or the reason why that cannot be said."""
    table = trials_table(analysis)
    if table.empty or not parameters:
        return "There is nothing to weigh yet."
    known = table[(table["state"] == "complete") & table[metric].notna()]
    values: Mapping[int, Any] = dict(zip(known["trial"], known[metric], strict=True))
    how: Evaluator = "fanova" if judge == "fanova" else "ped-anova"
    try:
        parts = importances(
            analysis.records,
            parameters=parameters,
            values=values,
            maximise=MAXIMISED[metric],
            evaluator=how,
        )
    except AnalysisError as error:
        return str(error)
    return draw_importances(parts, metric=METRICS[metric].short, how=EVALUATORS[how])


def blank_figure() -> go.Figure:
    """Nothing, without the axes that an empty figure shows."""
    hidden = {"visible": False}
    return go.Figure(layout={"xaxis": hidden, "yaxis": hidden, "template": "plotly_white"})


def _tell_apart(figure: go.Figure, *, second: int) -> None:
    """Mark the second trial's epochs by another symbol: two trials share colours of budgets."""
    for trace in figure.data:
        symbols = [
            "square-open" if f"(trial {second}," in text else "circle" for text in trace.text
        ]
        trace.marker.symbol = symbols
        trace.marker.size = 7
