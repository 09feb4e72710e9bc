"""The front as the explorer shows it, and which trials a click or a brush means."""

import re
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from cmt_search.analysis import Analysis, FrontStyle, draw_front, front_data
from cmt_search.analysis.figure_front import CATEGORIES
from cmt_search.analysis.figure_style import VERMILLION
from cmt_search.analysis.frame import REALISED
from cmt_search.analysis.front_values import front_on
from cmt_search.analysis.metrics import display_values
from cmt_search.explorer.room import Room
from cmt_search.explorer.view import NO_METRIC

Selection = dict[str, Any]  # trials (None: all), by, ranges of the parallel coordinates
NOTHING_SELECTED: Selection = {"trials": None, "by": "", "ranges": {}}
CONTROLS = (  # ids of those that change the front
    *("run", "x-metric", "y-metric", "z-metric", "logs", "flips", "shown", "overlays"),
    *("trial", "other"),
)
_NOT_IN_A_CSS_NAME = re.compile(r"[^a-z0-9]+")
_TRIAL = re.compile(r"\btrial (\d+)\b")
_NEAR = 0.04  # between shares: a click that is further from a network means none


def drawn_front(room: Room, view: Mapping[str, Any], *, selection: Selection) -> go.Figure:
    """The front that the values of the controls ask for; not to be changed."""
    asked = f"{[view[control] for control in CONTROLS]} {selection}"
    return room.remembered(asked, lambda: _drawn_front(room, view, selection=selection))


def _drawn_front(room: Room, view: Mapping[str, Any], *, selection: Selection) -> go.Figure:
    run, z = view["run"], view["z-metric"]
    x, y = view["x-metric"] or room.known(run).front.metrics[0], view["y-metric"]
    over = {name: seen.analysis for name, seen in room.laid_over(run, view["overlays"]).items()}
    look = FrontStyle(
        log=view["logs"],
        flip=view["flips"],
        hide=[name for name in CATEGORIES if name not in view["shown"]],
        bars="bars" in view["shown"],
        overlays=view["overlays"],
        missing=[name for name, analysis in over.items() if analysis is None],
        selected=selection["trials"],
    )
    figure = front_figure(
        room.known(run),
        metrics=(x, y) if z in (NO_METRIC, x, y) else (x, y, z),  # a repeated one adds no axis
        look=look,
        trials=[view[name] for name in ("trial", "other") if view[name] is not None],
        others={name: analysis for name, analysis in over.items() if analysis is not None},
    )
    # A box of plotly's stays only while it is what selects.
    mark = "front" if selection["by"] == "front" else str(selection["trials"])
    return figure.update_layout(selectionrevision=mark)


def front_figure(
    analysis: Analysis,
    *,
    metrics: Collection[str] = (),
    look: FrontStyle | None = None,
    trials: Collection[int] = (),
    others: Mapping[str, Analysis] | None = None,
) -> go.Figure:
    """The report's front, on any metrics; the networks of `trials` are ringed."""
    look = look or FrontStyle()
    data = front_data(analysis, metrics=tuple(metrics))
    fronts = {name: front_on(other, metrics=data.metrics) for name, other in (others or {}).items()}
    figure = draw_front(data, replace(look, others=fronts))
    rows = pd.concat([data.networks, data.unfinished])
    for i, number in enumerate(trials):
        keys = analysis.frame.loc[analysis.frame["trial"] == number, "key"]
        _ring(figure, rows[rows["key"].isin(keys)], data.metrics, name=f"trial {number}", dash=i)
    figure.update_layout(dragmode="zoom" if len(data.metrics) == 2 else "turntable")
    return keep_view(figure, view=f"{data.metrics} {sorted(look.log)} {sorted(look.flip)}")


def keep_view(figure: go.Figure, *, view: str) -> go.Figure:
    """Let zoom and hidden traces outlive new data, for as long as `view` stays the same."""
    for trace in figure.data:
        if trace.name and trace.showlegend is not False:  # its count grows, what it names stays
            name = trace.name.split(" (")[0].lower()
            trace.uid = "trace-" + _NOT_IN_A_CSS_NAME.sub("-", name)  # plotly selects by it
    return figure.update_layout(uirevision=view)


def selected_trials(selected: Mapping[str, Any] | None) -> list[int] | None:
    """The trials within a box or a lasso; None: none was drawn, plotly only drew anew."""
    if not selected or not ("range" in selected or "lassoPoints" in selected):
        return None
    return sorted({trial for point in selected.get("points", ()) for trial in _trials(point)})


def clicked_trial(analysis: Analysis, click: Mapping[str, Any] | None) -> int | None:
    """The trial that a click means, by the point's data, its text, or its place in the triangle.

    Of trials that share a point it is the first; selected ones come first.
    """
    point = click["points"][0] if click and click.get("points") else {}
    trials = _trials(point)
    if trials:
        return trials[0]
    found = _TRIAL.search(point.get("text") or "")
    if found:
        return int(found[1])
    if all(corner in point for corner in "abc"):
        return _nearest_trial(analysis, shares=(point["b"], point["c"], point["a"]))
    return None


def _trials(point: Mapping[str, Any]) -> list[int]:
    """The trials whose point it is: the last of its data, a number where there is but one."""
    data = point.get("customdata")
    last = data[-1] if isinstance(data, list) and data else None
    return last if isinstance(last, list) else [last] if isinstance(last, int) else []


def _nearest_trial(analysis: Analysis, *, shares: tuple[float, float, float]) -> int | None:
    """The trial whose network at the largest budget is there, in realised shares."""
    if analysis.verdict is None:
        return None
    table = analysis.front.networks.dropna(subset=REALISED)
    table = table[table["budget"] == analysis.verdict.budget]
    if table.empty:
        return None
    distance = np.linalg.norm(table[REALISED].to_numpy(dtype=float) - np.array(shares), axis=1)
    nearest = int(distance.argmin())
    return int(table["trial"].iloc[nearest]) if distance[nearest] < _NEAR else None


def _ring(
    figure: go.Figure, rows: pd.DataFrame, metrics: tuple[str, ...], *, name: str, dash: int
) -> None:
    places = {
        axis: display_values(rows, metric) for axis, metric in zip("xyz", metrics, strict=False)
    }
    flat = len(metrics) == 2
    figure.add_trace(
        (go.Scatter if flat else go.Scatter3d)(
            **places,
            mode="markers",
            name=name,
            marker={
                "symbol": ("square-open" if dash else "circle-open") if flat else "circle-open",
                "size": 18 if flat else 10,
                "color": VERMILLION,
                "line": {"width": 3, "color": VERMILLION},
            },
            hoverinfo="skip",
        )
    )
