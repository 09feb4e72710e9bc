"""The report's section on scaling laws: sentences, figures, tables, a better base."""

from collections.abc import Iterator
from dataclasses import dataclass

import plotly.graph_objects as go
import yaml

from cmt_search.analysis.figure_estimators import draw_shares, shares_data
from cmt_search.analysis.figure_laws import accuracy_data, draw_accuracy
from cmt_search.analysis.frame import networks
from cmt_search.analysis.law_values import FitFailure, StudyLaws
from cmt_search.analysis.report_table import Table
from cmt_search.analysis.study import Analysis, law_sentences
from cmt_search.analysis.text_laws import estimates
from cmt_search.format import macs_text, percent
from cmt_search.scaling.shares import DIMENSIONS
from cmt_search.stats import Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class LawsSection:
    """Scaling laws as shown in the report."""

    sentences: tuple[str, ...]
    figures: tuple[go.Figure, ...]
    tables: tuple[Table, ...]  # without the empty ones
    base: str  # lines of a space file with the proposed base; empty without one


def laws_section(analysis: Analysis) -> LawsSection | None:
    """Build the section; None if no laws were requested."""
    laws = analysis.laws
    if laws is None:
        return None
    tables = (
        Table(title="Power laws: shares of growth", rows=tuple(_share_rows(laws))),
        Table(title="Best shape at each budget", rows=tuple(_optimum_rows(laws))),
        Table(
            title="Best measured shape at each budget",
            rows=tuple(_best_rows(analysis)) if laws.base is None else (),
            note="The best measurement is optimistically biased; prefer the optima above.",
        ),
        Table(title="Accuracy against MACs", rows=tuple(_prediction_rows(laws))),
    )
    return LawsSection(
        sentences=law_sentences(analysis),
        figures=tuple(law_figures(analysis).values()),
        tables=tuple(table for table in tables if table.rows),
        base=_base_text(laws),
    )


def law_figures(analysis: Analysis) -> dict[str, go.Figure]:
    """Draw every figure of the laws that were fitted, by name."""
    drawn = {}
    if (accuracy := accuracy_data(analysis)) is not None:
        drawn["accuracy"] = draw_accuracy(accuracy)
    if (shares := shares_data(analysis)) is not None:
        drawn["shares"] = draw_shares(shares)
    return drawn


def _share_rows(laws: StudyLaws) -> Iterator[dict[str, object]]:
    if isinstance(laws.power, FitFailure):
        return
    for which, estimator, estimate in estimates(laws.power):
        yield {"shares": which, "estimator": f"by {estimator}", **_cells(estimate)}


def _optimum_rows(laws: StudyLaws) -> Iterator[dict[str, object]]:
    if isinstance(laws.power, FitFailure):
        return
    for one in laws.power.optima:
        edge = f"in {percent(one.edge_draws)} of resamples"
        yield {
            "budget": macs_text(one.budget),
            "growth, ln MACs": f"{one.log_macs_ratio:.2f}",
            **_cells(one.contributions),
            "at the edge of its range": "yes" if one.at_edge else edge,
        }


def _best_rows(analysis: Analysis) -> Iterator[dict[str, object]]:
    table = networks(analysis.frame).dropna(subset=["budget"])
    for budget, rows in table.groupby("budget"):
        best = rows.nlargest(1, "top1").to_dict("records")[0]
        yield {
            "budget": macs_text(float(str(budget))),
            "blocks": best["depths"],
            "channels": best["widths"],
            "px": str(best["resolution"]),
            "MACs": macs_text(best["macs"]),
            "top-1": percent(best["top1"]),
            "seeds": str(best["measurements"]),
            "shapes measured": str(len(rows)),
        }


def _cells(estimate: Estimate) -> dict[str, object]:
    rows = zip(DIMENSIONS, estimate.values, estimate.low, estimate.high, strict=True)
    return {name: f"{value:.2f} ({low:.2f} to {high:.2f})" for name, value, low, high in rows}


def _prediction_rows(laws: StudyLaws) -> Iterator[dict[str, object]]:
    for family in laws.families:
        for one in family.predictions:
            yield {
                "rule": family.rule,
                "MACs": macs_text(one.macs),
                "measured here": "yes" if one.macs <= laws.budgets[-1] else "no",
                "top-1": percent(one.value),
                "95% interval": f"{percent(one.low)} to {percent(one.high)}",
                "one further training": f"{percent(one.next_low)} to {percent(one.next_high)}",
            }


def _base_text(laws: StudyLaws) -> str:
    if laws.base is None or isinstance(laws.base, FitFailure):
        return ""
    if laws.base.proposal is None or laws.base.proposal.arch is None:
        return ""
    arch = laws.base.proposal.arch.to_dict()
    lines: str = yaml.safe_dump({"base": {"arch": arch}}, sort_keys=False)
    return lines
