"""The table of trials: values to sort by, and the same values as text."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, TypedDict

from dash import html

from cmt_search.analysis.figure_style import short_macs
from cmt_search.analysis.wording import macs_text, percent
from cmt_search.search import TrialRecord

Row = Mapping[str, Any]  # a value per column; None: not known
SHOWN = 200  # rows that a browser draws at once without waiting


class Sort(TypedDict):
    """By which column the table is sorted."""

    column: str
    descending: bool


FIRST_SORT = Sort(column="trial", descending=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """How the values of one column look."""

    text: Callable[[Any], str] = str
    number: bool = True  # aligned right; the first click sorts it from the top


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
    "reason": Column(number=False),
}


def trial_row(record: TrialRecord) -> Row:
    """A trial's row; its costs and means are those of the last rung that was measured."""
    measured = [rung for rung in record.rungs if rung.measurements]
    last = (measured or record.rungs or (None,))[-1 if measured else 0]
    seen = last.measurements if last else ()
    return {
        "trial": record.number,
        "name": record.name,
        "state": record.state,
        "shares": record.shares,
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


def trials_table(records: Sequence[TrialRecord], *, sort: Sort) -> list[Any]:
    """The table, and a word on what it leaves out."""
    rows = sorted_rows([trial_row(record) for record in records], sort)
    # A column that is empty throughout says nothing: shares of free networks, no failures.
    columns = [name for name in COLUMNS if name == sort["column"] or any(row[name] for row in rows)]
    head = html.Thead(html.Tr([_head(name, sort=sort) for name in columns]))
    body = html.Tbody([_table_row(row, columns=columns) for row in rows[:SHOWN]])
    return [html.P(_note(len(rows)), className="note"), html.Table([head, body])]


def _note(count: int) -> str:
    note = "Accuracy is the mean over seeds on the last rung that was measured."
    if count <= SHOWN:
        return note
    return f"{note} The first {SHOWN} of {count} rows are shown; sort to see others."


def _head(name: str, *, sort: Sort) -> Any:
    direction = "none"
    if name == sort["column"]:
        direction = "descending" if sort["descending"] else "ascending"
    arrow = {"none": "", "ascending": " \N{BLACK UP-POINTING SMALL TRIANGLE}"}.get(
        direction, " \N{BLACK DOWN-POINTING SMALL TRIANGLE}"
    )
    button = html.Button(name + arrow, id={"type": "sort", "column": name}, className="plain")
    return html.Th(button, className=_align(name), scope="col", **{"aria-sort": direction})


def _table_row(row: Row, *, columns: Sequence[str]) -> Any:
    cells = [
        html.Td(
            # A click on the button reaches the row as well: one handler for mouse and keyboard.
            html.Button(text, className="plain", title=f"show trial {text}")
            if name == "trial"
            else text,
            className=_align(name),
        )
        for name in columns
        for text in ["\N{EN DASH}" if row[name] is None else COLUMNS[name].text(row[name])]
    ]
    return html.Tr(cells, id={"type": "row", "trial": row["trial"]}, className=row["state"])


def _align(name: str) -> str:
    return "number" if COLUMNS[name].number else ""
