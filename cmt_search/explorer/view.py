"""What the address of the page says of the view: every control's value, defaults left out."""

import base64
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

import numpy as np

from cmt_search.analysis.figure_front import CATEGORIES, OVERLAYS
from cmt_search.analysis.metrics import METRICS
from cmt_search.explorer.table_view import COLUMNS, FIRST_SORT, Sort
from cmt_search.search.importance import EVALUATORS

TABS = {"front": "Front", "triangle": "Triangle", "progress": "Progress"}
THEMES = ("auto", "light", "dark")
NO_METRIC = "none"
SELECTED = "sel"  # trials in the address: ranges as 1-4,9, or a bit per trial where that is shorter
_BITS = "~"  # begins the latter: base64 for addresses, the lowest bit of a byte first
_MOST_TRIALS = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """A control and its name in the address."""

    name: str
    control: str  # id on the page
    default: Any
    read: Callable[[str], Any]  # raises ValueError where the text makes no sense
    prop: str = "value"  # of the control, that holds what is chosen


def _one_of(known: Collection[str]) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in known:
            raise ValueError(text)
        return text

    return read


def _some_of(known: Collection[str]) -> Callable[[str], list[str]]:
    return lambda text: [part for part in dict.fromkeys(text.split(",")) if part in known]


def _between(low: float, high: float) -> Callable[[str], float]:
    def read(text: str) -> float:
        value = float(text)
        if not low <= value <= high:  # nor where it is no number
            raise ValueError(text)
        return value

    return read


def _number(text: str) -> int:
    """A trial's number."""
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise ValueError(text)
    return int(text)


def _overlays(text: str) -> list[str]:
    """Those of a run are known by the page alone."""
    parts = dict.fromkeys(text.split(","))
    return [part for part in parts if part in OVERLAYS or part.startswith("run:")]


def _sort(text: str) -> Sort:
    column = text.removeprefix("-")
    if column not in COLUMNS:
        raise ValueError(text)
    return Sort(column=column, descending=text.startswith("-"))


_AXES = ("x", "y", "z")
FIELDS = (
    Field(name="tab", control="tab", default="front", read=_one_of(TABS)),
    Field(name="run", control="run", default=None, read=str),
    Field(name="x", control="x-metric", default=None, read=_one_of(METRICS)),
    Field(name="y", control="y-metric", default="top1", read=_one_of(METRICS)),
    Field(
        name="z",
        control="z-metric",
        default=NO_METRIC,
        read=_one_of((*METRICS, NO_METRIC)),
    ),
    Field(name="log", control="logs", default=["x"], read=_some_of(_AXES)),
    Field(name="flip", control="flips", default=[], read=_some_of(_AXES)),
    Field(
        name="show",
        control="shown",
        default=list(CATEGORIES),
        read=_some_of((*CATEGORIES, "bars")),
    ),
    Field(name="over", control="overlays", default=[], read=_overlays),
    Field(name="filter", control="filter", default="", read=str),
    Field(name="sort", control="sort", default=FIRST_SORT, read=_sort, prop="data"),
    Field(name="trial", control="trial", default=None, read=_number),
    Field(name="other", control="other", default=None, read=_number),
    # The decimal logarithm of MACs, from a toy to far beyond any network.
    Field(name="budget", control="budget", default=None, read=_between(3, 15)),
    Field(name="d", control="depth-share", default=None, read=_between(0, 1)),
    Field(name="w", control="width-share", default=None, read=_between(0, 1)),
    Field(name="metric", control="importance-metric", default="top1", read=_one_of(METRICS)),
    Field(name="judge", control="importance-judge", default="ped-anova", read=_one_of(EVALUATORS)),
    Field(name="theme", control="theme", default="auto", read=_one_of(THEMES)),
)


def read_view(search: str | None) -> dict[str, Any]:
    """The values of all controls by id, from an address; what makes no sense is the default."""
    given = parse_qs((search or "").removeprefix("?"), keep_blank_values=True)
    return {field.control: _value(field, given) for field in FIELDS}


def read_selected(search: str | None) -> list[int] | None:
    """The selected trials in an address; None: all."""
    given = parse_qs((search or "").removeprefix("?"), keep_blank_values=True)
    if SELECTED not in given:
        return None
    text = given[SELECTED][0]
    if not text.startswith(_BITS):
        return _read_ranges(text)
    try:
        return _read_bits(text.removeprefix(_BITS))
    except ValueError:
        return None


def _read_bits(text: str) -> list[int]:
    """The places of the bits that are set."""
    raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    bits = np.unpackbits(np.frombuffer(raw, dtype=np.uint8), bitorder="little")
    return [int(place) for place in np.flatnonzero(bits)]


def _read_ranges(text: str) -> list[int]:
    """The numbers in ranges; parts that make no sense are left out."""
    found: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        try:
            low, high = _number(first), _number(last or first)
        except ValueError:
            continue
        found += range(low, min(high + 1, low + _MOST_TRIALS - len(found)))
    return found


def _value(field: Field, given: Mapping[str, list[str]]) -> Any:
    if field.name not in given:
        return field.default
    try:
        return field.read(given[field.name][0])
    except ValueError:
        return field.default
