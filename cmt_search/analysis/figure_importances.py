"""Importances of the sampled parameters for a metric."""

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go

from cmt_search.analysis.figure_style import BLUE, styled
from cmt_search.analysis.frame import trials_frame
from cmt_search.analysis.front import MAXIMISED
from cmt_search.analysis.metrics import METRICS
from cmt_search.analysis.study import Analysis
from cmt_search.errors import AnalysisError
from cmt_search.format import percent
from cmt_search.search.importance import EVALUATORS, Evaluator, importances
from cmt_search.space import Parameter


def importances_data(
    analysis: Analysis,
    *,
    parameters: Sequence[Parameter],
    metric: str = "top1",
    how: Evaluator = "ped-anova",
) -> dict[str, float]:
    """Compute how much each parameter decides of a metric, over the trials that are complete.

    Raises:
        AnalysisError: there is nothing to weigh, or too few trials have a value that differs.
    """
    table = trials_frame(analysis.records)
    if table.empty or not parameters:
        raise AnalysisError("There is nothing to weigh yet.")
    known = table[(table["state"] == "complete") & table[metric].notna()]
    return importances(
        analysis.records,
        parameters=parameters,
        values=dict(zip(known["trial"], known[metric], strict=True)),
        maximise=MAXIMISED[metric],
        evaluator=how,
    )


def draw_importances(
    parts: Mapping[str, float], *, metric: str = "top1", how: Evaluator = "ped-anova"
) -> go.Figure:
    """Draw importances of parameters for a metric, largest on top."""
    ranked = sorted(parts.items(), key=lambda item: item[1])
    figure = go.Figure()
    figure.add_bar(
        x=[100 * part for _, part in ranked],
        y=[_parameter(name) for name, _ in ranked],
        orientation="h",
        marker={"color": BLUE},
        text=[percent(part) for _, part in ranked],
        insidetextfont={"color": "white"},
        hovertemplate="%{y}: %{x:.1f}%<extra></extra>",
    )
    figure.update_xaxes(title="importance (%)", range=[0, 108])
    figure.update_yaxes(automargin=True)
    title = (
        f"{_parameter(ranked[-1][0])} decides most of {METRICS[metric].short}"
        if ranked
        else "Not known yet"
    )
    return styled(
        figure, title=title, subtitle=EVALUATORS[how], height=200 + 34 * max(len(ranked), 1)
    )


def _parameter(name: str) -> str:
    known = {"depth_quantile": "depth's share", "width_of_rest": "width against resolution"}
    return known.get(name, name.replace("_", " "))
