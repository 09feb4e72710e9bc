"""The report: one HTML file that needs nothing beside it."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from importlib import resources
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
from jinja2 import Environment
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from cmt_search.analysis.figure_curves import curves_data, draw_curves
from cmt_search.analysis.figure_front import draw_front, front_data
from cmt_search.analysis.figure_importances import draw_importances, importances_data
from cmt_search.analysis.figure_parallel import draw_parallel, parallel_data
from cmt_search.analysis.figure_progress import (
    draw_failures,
    draw_progress,
    failures_data,
    progress_data,
)
from cmt_search.analysis.figure_rules import draw_rules, rules_data
from cmt_search.analysis.figure_timeline import draw_timeline, timeline_data
from cmt_search.analysis.figure_triangle import draw_triangle, triangle_data
from cmt_search.analysis.headlines import study_headline, study_progress
from cmt_search.analysis.page import QUIET, write_page
from cmt_search.analysis.report_laws import laws_section
from cmt_search.analysis.report_table import Table
from cmt_search.analysis.study import Analysis
from cmt_search.analysis.wording import explanation
from cmt_search.errors import AnalysisError
from cmt_search.format import MISSING, macs_text, percent, points
from cmt_search.search.types import TrialRecord
from cmt_search.space import Parameter


def figures(analysis: Analysis, *, parameters: Sequence[Parameter] = ()) -> dict[str, go.Figure]:
    """Every figure that the study holds enough for, by name, in the order of the report.

    Importances are those of `parameters`, which the space of the search knows.
    """
    drawn = {}
    if analysis.verdict is not None:
        drawn["triangle"] = draw_triangle(triangle_data(analysis))
    drawn["front"] = draw_front(front_data(analysis))
    if analysis.rules:
        drawn["rules"] = draw_rules(rules_data(analysis))
    curves = curves_data(analysis)
    if curves.groups:
        drawn["curves"] = draw_curves(curves)
    parallel = parallel_data(analysis)
    if len(parallel.table) > 1:
        drawn["parallel"] = draw_parallel(parallel)
    if len(analysis.front.networks):
        drawn["progress"] = draw_progress(progress_data(analysis))
    with suppress(AnalysisError):  # too few trials
        parts = importances_data(analysis, parameters=parameters)
        drawn["importances"] = draw_importances(parts)
    timeline = timeline_data(analysis)
    if timeline.lanes:
        drawn["timeline"] = draw_timeline(timeline)
    if failures := failures_data(analysis):
        drawn["failures"] = draw_failures(failures)
    return drawn


def write_report(
    analysis: Analysis,
    path: Path,
    *,
    title: str,
    provenance: Mapping[str, object] | None = None,
    family_table: Sequence[Mapping[str, object]] = (),
    parameters: Sequence[Parameter] = (),
) -> Path:
    """Write a self-contained report; every row of `family_table` has the same keys.

    The file appears whole or not at all.
    """
    text = render_report(
        analysis,
        title=title,
        provenance=provenance,
        family_table=family_table,
        parameters=parameters,
    )
    return write_page(path, text)


def render_report(
    analysis: Analysis,
    *,
    title: str,
    provenance: Mapping[str, object] | None = None,
    family_table: Sequence[Mapping[str, object]] = (),
    parameters: Sequence[Parameter] = (),
) -> str:
    """The report as HTML."""
    source = resources.files(__package__).joinpath("report.html.j2").read_text(encoding="utf-8")
    template = Environment(autoescape=True, trim_blocks=True).from_string(source)
    verdict, laws = analysis.verdict, laws_section(analysis)
    drawn = figures(analysis, parameters=parameters)
    tables = (
        Table(title="Family", rows=tuple(family_table)),
        Table(title="Named rules at the largest budget", rows=tuple(_rule_rows(analysis))),
        Table(
            title="Trials",
            rows=tuple(_trial_row(record) for record in analysis.records),
            note="Accuracy is the mean over seeds on the last rung that was measured.",
        ),
    )
    return template.render(
        title=title,
        lead=study_progress(analysis),
        headline=study_headline(analysis),
        explanation=explanation(verdict) if verdict else (),
        plotly_js=Markup(get_plotlyjs()),  # noqa: S704 - plotly's own script
        figures=[_embedded(figure) for figure in drawn.values()],
        laws=laws,
        law_figures=[_embedded(figure) for figure in laws.figures] if laws else (),
        tables=[table for table in tables if table.rows],
        provenance=list(_flat(provenance or {})),
    )


def _embedded(figure: go.Figure) -> Markup:
    config = {**QUIET, "displayModeBar": "hover", "responsive": True}
    html = figure.to_html(full_html=False, include_plotlyjs=False, config=config)
    return Markup(html)  # noqa: S704 - plotly escapes the figure's texts


def _rule_rows(analysis: Analysis) -> Iterator[dict[str, object]]:
    largest = max((rule.budget for rule in analysis.rules), default=None)
    for rule in analysis.rules:
        if rule.budget != largest:
            continue
        d, w, r = analysis.named[rule.name].values
        low, high = points(rule.predicted.low, sign=True), points(rule.predicted.high, sign=True)
        yield {
            "rule": rule.name,
            "depth": f"{d:.2f}",
            "width": f"{w:.2f}",
            "resolution": f"{r:.2f}",
            "predicted, points": points(rule.predicted.mean, sign=True),
            "95% interval": f"{low} to {high}",
            "measured top-1": percent(rule.top1) if rule.top1 is not None else MISSING,
            "seeds": str(rule.measurements),
            "measured, points": points(rule.measured, sign=True)
            if rule.measured is not None
            else MISSING,
        }


def _trial_row(record: TrialRecord) -> dict[str, object]:
    measured = [rung for rung in record.rungs if rung.measurements]
    last = measured[-1] if measured else None
    top1 = [m.top1 for m in last.measurements] if last else []
    return {
        "trial": str(record.number),
        "name": record.name,
        "state": record.state,
        "shares": " / ".join(f"{share:.2f}" for share in record.shares)
        if record.shares
        else MISSING,
        "rungs": f"{len(measured)}/{len(record.rungs)}",
        "MACs": macs_text(last.rung.macs) if last else MISSING,
        "top-1": percent(sum(top1) / len(top1)) if top1 else MISSING,
        "seeds": str(len(top1)),
        "seconds": f"{record.seconds:.0f}",
        "reason": record.reason or "",
    }


def _flat(values: Mapping[str, Any], *, prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, prefix=f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", str(value)
