"""What the address of the page says of the view: every control's value, defaults left out."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

from cmt_search.analysis.figure_front import CATEGORIES, OVERLAYS
from cmt_search.analysis.metrics import METRICS

TABS = {"front": "Front", "triangle": "Triangle", "progress": "Progress"}
THEMES = ("auto", "light", "dark")
NO_METRIC = "none"
SELECTED = "sel"  # trials in the address, as ranges: 1-4,9


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """A control and its name in the address."""

    name: str
    control: str  # id on the page
    default: Any
    read: Callable[[str], Any]  # raises ValueError where the text makes no sense


def _one_of(known: Collection[str]) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in known:
            raise ValueError(text)
        return text

    return read


def _some_of(known: Collection[str]) -> Callable[[str], list[str]]:
    return lambda text: [part for part in text.split(",") if part in known]


def _share(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise ValueError(text)
    return value


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
    Field(name="over", control="overlays", default=[], read=lambda text: text.split(",")),
    Field(name="filter", control="filter", default="", read=str),
    Field(name="trial", control="trial", default=None, read=int),
    Field(name="other", control="other", default=None, read=int),
    Field(name="budget", control="budget", default=None, read=float),
    Field(name="d", control="depth-share", default=None, read=_share),
    Field(name="w", control="width-share", default=None, read=_share),
    Field(name="metric", control="importance-metric", default="top1", read=_one_of(METRICS)),
    Field(name="judge", control="importance-judge", default="ped-anova", read=str),
    Field(name="theme", control="theme", default="auto", read=_one_of(THEMES)),
)
OVERLAY_LABELS = OVERLAYS


def read_view(search: str | None) -> dict[str, Any]:
    """The values of all controls by id, from an address; what makes no sense is the default."""
    given = parse_qs((search or "").removeprefix("?"), keep_blank_values=True)
    return {field.control: _value(field, given) for field in FIELDS}


def read_selected(search: str | None) -> list[int] | None:
    """The selected trials in an address; None: all."""
    given = parse_qs((search or "").removeprefix("?"))
    if SELECTED not in given:
        return None
    found: list[int] = []
    for part in given[SELECTED][0].split(","):
        first, _, last = part.partition("-")
        if first.isdigit() and (last or first).isdigit():
            found += range(int(first), min(int(last or first), int(first) + 100_000) + 1)
    return found


def _value(field: Field, given: Mapping[str, list[str]]) -> Any:
    if field.name not in given:
        return field.default
    try:
        return field.read(given[field.name][0])
    except ValueError:
        return field.default
