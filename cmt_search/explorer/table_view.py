"""The table of trials: values to sort by, and the same values as text."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, TypedDict

from dash import html

from cmt_search.analysis.figure_style import short_macs
from cmt_search.explorer.trial_view import asked_shares
from cmt_search.format import MISSING, counted, macs_text, percent
from cmt_search.search import TrialRecord

Row = Mapping[str, Any]  # a value per column; None: not known
SHOWN = 100  # rows of a page: what a browser draws without waiting


class Sort(TypedDict):
    """By which column the table is sorted."""

    column: str
    descending: bool


_ARROWS = {
    "none": "",
    "ascending": " \N{BLACK UP-POINTING SMALL TRIANGLE}",
    "descending": " \N{BLACK DOWN-POINTING SMALL TRIANGLE}",
}
FIRST_SORT = Sort(column="trial", descending=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """How the values of one column look."""

    text: Callable[[Any], str] = str
    number: bool = True  # aligned right; the first click sorts it from the top
    missing: str = MISSING


COLUMNS = {
    "trial": Column(),
    "name": Column(number=False),
    "state": Column(number=False),
    "shares": Column(text=lambda s: " / ".join(f"{share:.2f}" for share in s), number=False),
    "rungs": Column(text=lambda rungs: f"{rungs[0]}/{rungs[1]}"),
    "MACs": Column(text=macs_text),
    "params": Column(text=short_macs),
    "top-1": Column(text=percent),
    "loss": Column(text="{:.3f}".format),
    "seeds": Column(),
    "seconds": Column(text="{:.0f}".format),
    "reason": Column(number=False, missing=""),
}


def trial_row(record: TrialRecord) -> Row:
    """A trial's row; its costs and means are those of the last rung that was measured."""
    measured = [rung for rung in record.rungs if rung.measurements]
    last = (measured or record.rungs or (None,))[-1 if measured else 0]
    seen = last.measurements if last else ()
    shares = asked_shares(record)
    return {
        "trial": record.number,
        "name": record.name,
        "state": record.state,
        "shares": shares.values if shares else None,
        "rungs": (len(measured), len(record.rungs)),
        "MACs": last.rung.macs if last else None,
        "params": last.rung.params if last else None,
        "top-1": fmean(m.top1 for m in seen) if seen else None,
        "loss": fmean(m.loss for m in seen) if seen else None,
        "seeds": len(seen),
        "seconds": record.seconds,
        "reason": record.reason,
    }


def sorted_rows(rows: Iterable[Row], sort: Sort) -> list[Row]:
    """The rows in order; those without a value come last in either direction."""
    column = sort["column"]
    known = [row for row in rows if row[column] is not None]
    unknown = [row for row in rows if row[column] is None]
    return sorted(known, key=lambda row: row[column], reverse=sort["descending"]) + unknown


def next_sort(sort: Sort, *, clicked: str) -> Sort:
    """The order after a click on a column's head: by it, or the other way round."""
    if clicked == sort["column"]:
        return Sort(column=clicked, descending=not sort["descending"])
    return Sort(column=clicked, descending=COLUMNS[clicked].number and clicked != "trial")


def filled_columns(rows: Sequence[Row], *, sort: Sort) -> list[str]:
    """The columns that say something: free networks have no shares, and often nothing failed."""
    return [
        name
        for name in COLUMNS
        if name == sort["column"] or any(row[name] is not None for row in rows)
    ]


def trials_table() -> Any:
    """The table without its rows; its heads stay the same elements, so that they keep the focus."""
    heads = [
        html.Th(
            html.Button(id={"type": "sort", "column": name}, className="plain"),
            id={"type": "head", "column": name},
            className=_align(name),
            scope="col",
        )
        for name in COLUMNS
    ]
    tick = html.Th(html.Span("selected", className="hidden-text"), scope="col")
    return html.Table([html.Thead(html.Tr([tick, *heads])), html.Tbody(id="rows")])


def matching(rows: Iterable[Row], words: str | None) -> list[Row]:
    """The rows whose name, state or reason hold all words."""
    wanted = (words or "").lower().split()
    return [row for row in rows if all(word in _said(row) for word in wanted)]


def table_rows(
    rows: Sequence[Row], *, columns: Sequence[str], picked: Collection[int] = ()
) -> list[dict[str, Any]]:
    """What the browser makes table rows of; those picked are marked.

    Elements of Dash would do as well, but a page of them takes it seconds to draw.
    """
    chosen = set(picked)
    return [
        {
            "trial": row["trial"],
            "state": row["state"],
            "picked": row["trial"] in chosen,
            "cells": [[_text(name, row[name]), _align(name)] for name in columns],
        }
        for row in rows
    ]


def direction(name: str, *, sort: Sort) -> str:
    """How a column is sorted, in the words of ARIA."""
    if name != sort["column"]:
        return "none"
    return "descending" if sort["descending"] else "ascending"


def label(name: str, *, sort: Sort) -> str:
    """The text of a column's head."""
    return name + _ARROWS[direction(name, sort=sort)]


def note() -> str:
    """What is to be known of the table."""
    return (
        "Accuracy is the mean over seeds on the last rung that was measured. A tick selects a "
        "trial in all views; a click anywhere else in a row shows it."
    )


def page_note(start: int, count: int, *, every: int) -> str:
    """Which rows are shown, of how many."""
    of = f"{count}" if count == every else f"{count} (of {counted(every, 'trial')})"
    return f"rows {start + 1} to {min(start + SHOWN, count)} of {of}" if count else "no rows"


def _said(row: Row) -> str:
    return f"{row['trial']} {row['name']} {row['state']} {row['reason'] or ''}".lower()


def _text(name: str, value: Any) -> str:
    column = COLUMNS[name]
    return column.missing if value is None else column.text(value)


def _align(name: str) -> str:
    return "number" if COLUMNS[name].number else ""
