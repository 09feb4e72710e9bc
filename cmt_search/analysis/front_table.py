"""Rows of the Pareto front for console, JSON and report."""

from collections.abc import Iterator
from typing import Any

import pandas as pd

from cmt_search.analysis.front import Front
from cmt_search.analysis.metrics import METRICS
from cmt_search.analysis.study import Analysis

_ALWAYS = ("macs", "params", "top1")


def front_columns(front: Front) -> tuple[str, ...]:
    """Return the metrics of a front's table: its objectives, MACs, parameters and top1."""
    wanted = {*front.metrics, *_ALWAYS}
    return tuple(name for name in METRICS if name in wanted)


def front_rows(analysis: Analysis) -> Iterator[dict[str, object]]:
    """Tabulate the front: trial, name and every objective, by the first metric."""
    columns = front_columns(analysis.front)
    for row in analysis.front.members.to_dict("records"):
        yield {
            "trial": str(row["trial"]),
            "name": row["name"],
            **{METRICS[name].short: _cell(row, name) for name in columns},
            "seeds": str(row["measurements"]),
        }


def _cell(row: dict[Any, Any], name: str) -> str:
    value = row[name]
    if pd.isna(value):
        return ""
    return f"{value:,.0f}" if METRICS[name].count else METRICS[name].text(float(value))
