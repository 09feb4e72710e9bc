"""The triangle with the network of a chosen point, and the progress of the search."""

import math
from typing import Any

from dash import ClientsideFunction, Dash, Input, Output, State, no_update

from cmt_search.analysis.verdict import RuleVerdict
from cmt_search.explorer.figures import (
    blank_figure,
    curves_figure,
    failures_figure,
    importances_figure,
    progress_figure,
    timeline_figure,
    triangle_figure,
)
from cmt_search.explorer.room import Room
from cmt_search.explorer.study import Study
from cmt_search.explorer.triangle_view import (
    asked_macs,
    budget_range,
    chosen_shares,
    clicked_shares,
    solved_panel,
)
from cmt_search.format import macs_text
from cmt_search.scaling import Shares

_NO_TRIANGLE = "This study has no map of the triangle: {}"


def connect(app: Dash, room: Room) -> None:
    """Give triangle and progress their behaviour."""
    _choose(app, room)
    _draw_triangle(app, room)
    _draw_progress(app, room)


def _choose(app: Dash, room: Room) -> None:
    @app.callback(
        Output("budget", "min"),
        Output("budget", "max"),
        Output("budget", "marks"),
        Input("run", "value"),
        prevent_initial_call=True,  # the page came with it
    )
    def fit(run: str | None) -> tuple[Any, ...]:
        return tuple(budget_range(room.study(run)).values())

    @app.callback(
        Output("depth-share", "value", allow_duplicate=True),
        Output("width-share", "value", allow_duplicate=True),
        Output("budget", "value", allow_duplicate=True),
        Input("triangle", "clickData"),
        Input("tab", "value"),
        Input("painted", "data"),
        Input("run", "value"),
        State("depth-share", "value"),
        State("width-share", "value"),
        State("budget", "value"),
        prevent_initial_call="initial_duplicate",
    )
    def choose(
        click: Any,
        tab: str,
        _painted: str | None,
        run: str | None,
        depth: float | None,
        width: float | None,
        budget: float | None,
    ) -> tuple[Any, Any, Any]:
        analysis = room.snapshot(run).analysis
        if tab != "triangle" or analysis is None or analysis.verdict is None:
            return no_update, no_update, no_update
        shares = clicked_shares(click)
        if shares is None and (depth is None or width is None):
            shares = analysis.verdict.best
        asked = round(math.log10(analysis.verdict.budget), 4) if budget is None else no_update
        if shares is None:
            return no_update, no_update, asked
        return round(shares.depth, 2), round(shares.width, 2), asked

    app.clientside_callback(
        ClientsideFunction("triangle", "dragged"),
        Output("depth-share", "value", allow_duplicate=True),
        Output("width-share", "value", allow_duplicate=True),
        Input("dragged", "data"),
        prevent_initial_call=True,
    )
    app.clientside_callback(
        ClientsideFunction("triangle", "place"),
        Input("depth-share", "value"),
        Input("width-share", "value"),
        Input("triangle", "figure"),
    )


def _draw_triangle(app: Dash, room: Room) -> None:
    # Shares are a state here: the browser moves the chosen point, so the map need not be redrawn.
    @app.callback(
        Output("triangle-drawn", "data"),
        Output("triangle-missing", "children"),
        Input("painted", "data"),
        Input("run", "value"),
        Input("tab", "value"),
        Input("budget", "value"),
        State("depth-share", "value"),
        State("width-share", "value"),
    )
    def draw(
        _painted: str | None,
        run: str | None,
        tab: str,
        budget: float | None,
        depth: float | None,
        width: float | None,
    ) -> tuple[Any, Any]:
        analysis = room.known(run)
        if tab != "triangle":
            return no_update, no_update
        if analysis.verdict is None:
            return blank_figure(), _NO_TRIANGLE.format(analysis.no_verdict)
        chosen, macs = _meant(
            analysis.verdict, room.study(run), depth=depth, width=width, budget=budget
        )
        return triangle_figure(analysis, budget=macs, chosen=chosen), ""

    @app.callback(
        Output("solved", "children"),
        Output("chosen-note", "children"),
        Input("painted", "data"),
        Input("run", "value"),
        Input("tab", "value"),
        Input("budget", "value"),
        Input("depth-share", "value"),
        Input("width-share", "value"),
    )
    def solve(
        _painted: str | None,
        run: str | None,
        tab: str,
        budget: float | None,
        depth: float | None,
        width: float | None,
    ) -> tuple[Any, Any]:
        analysis = room.known(run)
        if tab != "triangle":
            return no_update, no_update
        if analysis.verdict is None:
            return None, ""
        chosen, macs = _meant(
            analysis.verdict, room.study(run), depth=depth, width=width, budget=budget
        )
        said = (
            f"Chosen: depth {chosen.depth:.2f}, width {chosen.width:.2f}, resolution "
            f"{chosen.resolution:.2f} at {macs_text(macs)}. Drag the cross, click the map, use the "
            "arrow keys on it, or move the sliders."
        )
        return solved_panel(room.study(run), chosen, macs=macs), said


def _draw_progress(app: Dash, room: Room) -> None:
    @app.callback(
        Output("progress-drawn", "data"),
        Output("curves-drawn", "data"),
        Output("timeline-drawn", "data"),
        Output("failures-drawn", "data"),
        Output("failures-missing", "children"),
        Output("failures-place", "hidden"),
        Input("painted", "data"),
        Input("run", "value"),
        Input("tab", "value"),
    )
    def draw(_painted: str | None, run: str | None, tab: str) -> tuple[Any, ...]:
        analysis = room.known(run)
        if tab != "progress":
            return (no_update,) * 6
        failures = failures_figure(analysis)
        return (
            progress_figure(analysis),
            curves_figure(analysis),
            timeline_figure(analysis),
            failures or blank_figure(),
            "" if failures else "No trial failed.",
            failures is None,
        )

    @app.callback(
        Output("importances-drawn", "data"),
        Output("importances-missing", "children"),
        Output("importances-place", "hidden"),
        Input("painted", "data"),
        Input("run", "value"),
        Input("tab", "value"),
        Input("importance-metric", "value"),
        Input("importance-judge", "value"),
    )
    def weigh(
        _painted: str | None, run: str | None, tab: str, metric: str, judge: str
    ) -> tuple[Any, ...]:
        analysis = room.known(run)
        if tab != "progress":
            return no_update, no_update, no_update
        found = importances_figure(
            analysis, parameters=room.study(run).parameters, metric=metric, judge=judge
        )
        if isinstance(found, str):
            return blank_figure(), found, True
        return found, "", False


def _meant(
    verdict: RuleVerdict,
    study: Study,
    *,
    depth: float | None,
    width: float | None,
    budget: float | None,
) -> tuple[Shares, float]:
    """The point of the triangle and the MACs that the sliders say; else those of the verdict."""
    macs = verdict.budget if budget is None else asked_macs(study, budget=budget)
    return chosen_shares(depth, width) or verdict.best, macs
