"""The page as its address asks for it, and what is there before its scripts have been loaded."""

from collections.abc import Mapping
from html import escape
from typing import Any

from dash import html

from cmt_search.analysis import Analysis, study_headline
from cmt_search.explorer.front_view import NOTHING_SELECTED, Selection, drawn_front
from cmt_search.explorer.layout import blank_page
from cmt_search.explorer.offers import metric_options
from cmt_search.explorer.room import Room
from cmt_search.explorer.sketch import sketch
from cmt_search.explorer.triangle_view import budget_range
from cmt_search.explorer.view import FIELDS, TABS, read_selected, read_view
from cmt_search.explorer.words import evidence, situation

_THEME = (  # before anything is painted
    "document.documentElement.dataset.theme = 'ASKED' !== 'auto' ? 'ASKED' "
    ": matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light'"
)


def page(room: Room, *, search: str | None = None) -> Any:
    """The page as the address asks for it, with its front; callbacks fill the rest.

    Where the address is not known here (None), the page tells it afterwards.
    """
    view, selection = opened(room, search)
    study, known = room.study(view["run"]), room.snapshot(view["run"])
    whole = blank_page(room.studies)
    whole["url"].search = search
    whole["tick"].interval = room.pause
    whole["version"].data = room.version
    whole["selection"].data = selection
    whole["trials-of"].data = whole["title"].children = view["run"]
    whole["status"].children = _situation(room, view)
    for field in FIELDS:
        setattr(whole[field.control], field.prop, view[field.control])
    for name in TABS:
        whole[f"tab-{name}"].hidden = name != view["tab"]
    for control, options in metric_options(known.analysis, chosen=view).items():
        whole[control].options = options
    for name, value in budget_range(study).items():
        setattr(whole["budget"], name, value)
    whole["views"].hidden = known.analysis is None and bool(known.problem)
    if known.analysis is not None:
        whole["verdict"].children = conclusion(known.analysis)
        if view["tab"] == "front":
            whole["front-drawn"].data = drawn_front(room, view, selection=selection)
    return whole


def first_sight(room: Room, search: str) -> str:
    """HTML of what this address shows until its scripts have been loaded."""
    view, selection = opened(room, search)
    known = room.snapshot(view["run"])
    theme = f"<script>{_THEME.replace('ASKED', view['theme'])}</script>"
    if known.analysis is None or view["tab"] != "front":
        return theme
    figure = drawn_front(room, view, selection=selection)
    name, said, found = (
        escape(text)
        for text in (view["run"], _situation(room, view), study_headline(known.analysis))
    )
    return (
        f'{theme}<div id="first-sight" class="page">'
        f"<header><h1>{name}</h1><p>{said}</p></header>"
        '<div class="columns"><main>'
        f'<section class="card verdict"><strong>{found}</strong></section>'
        f'<section class="card"><h2>Front</h2><div id="sketch">{sketch(figure)}</div></section>'
        "</main></div></div>"
    )


def opened(room: Room, search: str | None) -> tuple[dict[str, Any], Selection]:
    """The values of all controls by id, and the selection, that an address asks for."""
    view = read_view(search)
    view["run"] = room.study(view["run"]).name
    analysis = room.snapshot(view["run"]).analysis
    trials = read_selected(search)
    if analysis is not None:
        view["x-metric"] = view["x-metric"] or analysis.front.metrics[0]
    if analysis is not None and trials is not None:
        there = {record.number for record in analysis.records}
        trials = [number for number in trials if number in there]
    return view, {**NOTHING_SELECTED, "trials": trials, "by": "address" if trials else ""}


def conclusion(analysis: Analysis) -> list[Any]:
    """The answer, and what stands behind it."""
    return [
        html.Strong(study_headline(analysis)),
        html.Ul([html.Li(text) for text in evidence(analysis)]),
    ]


def _situation(room: Room, view: Mapping[str, Any]) -> str:
    return situation(room, run=view["run"], overlays=view["overlays"])
