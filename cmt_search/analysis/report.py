"""The report: one self-contained HTML file."""

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
from cmt_search.analysis.frame import trials_frame
from cmt_search.analysis.front_table import front_rows
from cmt_search.analysis.next_step import NextStep, target_rows
from cmt_search.analysis.page import PLOTLY_CONFIG, write_page
from cmt_search.analysis.report_laws import laws_section
from cmt_search.analysis.report_table import Table
from cmt_search.analysis.study import Analysis
from cmt_search.analysis.study_text import study_headline, study_progress
from cmt_search.analysis.text import explanation, thresholds_text
from cmt_search.errors import AnalysisError
from cmt_search.format import MISSING, macs_text, percent, points
from cmt_search.space import Parameter

HEADINGS = {
    "triangle": "Triangle of rules",
    "front": "Pareto front",
    "rules": "Comparison of rules",
    "curves": "Learning curves",
    "parallel": "Parallel coordinates",
    "progress": "Progress",
    "importances": "Importances",
    "timeline": "Timeline",
    "failures": "Failures",
}


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


def write_report(analysis: Analysis, path: Path, *, title: str, **options: Any) -> Path:
    """Write a self-contained report; `options` as for `render_report`.

    The file appears whole or not at all.

    Raises:
        RunError: it cannot be written.
    """
    return write_page(path, render_report(analysis, title=title, **options))


def render_report(
    analysis: Analysis,
    *,
    title: str,
    next_step: NextStep | None = None,
    settings: Mapping[str, object] | None = None,
    provenance: Mapping[str, object] | None = None,
    family_table: Sequence[Mapping[str, object]] = (),
    parameters: Sequence[Parameter] = (),
) -> str:
    """Render the report as HTML.

    `settings` are the space's keys that differ from the defaults; values of None are left out.
    Every row of `family_table` has the same keys.
    """
    source = resources.files(__package__).joinpath("report.html.j2").read_text(encoding="utf-8")
    template = Environment(autoescape=True, trim_blocks=True).from_string(source)
    verdict, laws = analysis.verdict, laws_section(analysis)
    drawn = figures(analysis, parameters=parameters)
    tables = [table for table in _tables(analysis) if table.rows]
    settings_rows, run_rows = list(_flat(settings or {})), list(_flat(provenance or {}))
    contents = [
        ("conclusion", "Conclusion"),
        *([("next-step", "Next step")] if next_step else []),
        *([("family", "Family")] if family_table else []),
        *((f"figure-{name}", HEADINGS[name]) for name in drawn),
        *([("laws", "Scaling laws")] if laws else []),
        *((table.key, table.title) for table in tables),
        *([("settings", "Settings")] if settings_rows or run_rows else []),
    ]
    return template.render(
        title=title,
        lead=study_progress(analysis),
        contents=contents,
        headline=study_headline(analysis),
        explanation=explanation(verdict) if verdict else (),
        thresholds=thresholds_text(verdict) if verdict else "",
        next_step=next_step,
        targets=_targets_table(next_step),
        plotly_js=Markup(get_plotlyjs()),  # noqa: S704 - plotly's own script
        figures=[(name, HEADINGS[name], _embedded(figure)) for name, figure in drawn.items()],
        laws=laws,
        law_figures=[_embedded(figure) for figure in laws.figures] if laws else (),
        family=Table(title="Family", rows=tuple(family_table)),
        tables=tables,
        settings_rows=settings_rows,
        provenance=run_rows,
    )


def _tables(analysis: Analysis) -> tuple[Table, ...]:
    return (
        Table(
            title="Front",
            key="front-table",
            rows=tuple(front_rows(analysis)),
            note="Means over seeds. The first trial that trained the network in full is named.",
        ),
        Table(
            title="Named rules at the largest budget",
            key="rules",
            rows=tuple(_rule_rows(analysis)),
        ),
        Table(
            title="Trials",
            key="trials",
            rows=tuple(_trial_rows(analysis)),
            note="Accuracy is the mean over seeds at the last fidelity that was measured.",
        ),
    )


def _targets_table(step: NextStep | None) -> Table:
    if step is None:
        return Table(title="", rows=())
    source = "measured" if step.measured else "estimated, not measured by repeats"
    note = (
        f"Power 80%, two-sided 5%; standard deviation between seeds {points(step.seed_sd)} pp "
        f"({source}); time from this study's trainings."
    )
    return Table(title="", rows=tuple(target_rows(step)), note=note)


def _embedded(figure: go.Figure) -> Markup:
    config = {**PLOTLY_CONFIG, "displayModeBar": "hover", "responsive": True}
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
            "predicted, pp": points(rule.predicted.mean, sign=True),
            "95% interval": f"{low} to {high}",
            "measured top-1": percent(rule.top1) if rule.top1 is not None else MISSING,
            "seeds": str(rule.measurements),
            "measured, pp": points(rule.measured, sign=True)
            if rule.measured is not None
            else MISSING,
        }


def _trial_rows(analysis: Analysis) -> Iterator[dict[str, object]]:
    rungs = [len(record.rungs) for record in analysis.records]
    table = trials_frame(analysis.records).to_dict("records")
    for record, row, count in zip(analysis.records, table, rungs, strict=True):
        trained = row["measurements"] > 0
        yield {
            "trial": str(row["trial"]),
            "name": row["name"],
            "state": row["state"],
            "shares": " / ".join(f"{share:.2f}" for share in record.shares or ()) or MISSING,
            "rungs": f"{row['rungs']}/{count}",
            "MACs": macs_text(row["macs"]) if trained else MISSING,
            "top-1": percent(row["top1"]) if trained else MISSING,
            "seeds": str(row["measurements"]),
            "seconds": f"{row['trained']:.0f}",
            "reason": row["reason"] or "",
        }


def _flat(values: Mapping[str, Any], *, prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, prefix=f"{prefix}{key}.")
        elif isinstance(value, list | tuple):
            yield f"{prefix}{key}", " ".join(map(str, value))
        elif value is not None:
            yield f"{prefix}{key}", str(value)
