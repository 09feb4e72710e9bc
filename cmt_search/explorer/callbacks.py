"""What happens on the page: callbacks that pass the newest snapshot to pure functions."""

from typing import Any

from dash import ALL, ClientsideFunction, Dash, Input, Output, State, ctx, html, no_update
from dash.exceptions import PreventUpdate

from cmt_search.analysis import Analysis, finding
from cmt_search.explorer.figures import (
    blank_figure,
    curves_figure,
    trial_curves_figure,
    triangle_figure,
)
from cmt_search.explorer.front_view import clicked_trial, front_figure
from cmt_search.explorer.layout import GRAPHS
from cmt_search.explorer.live import Live
from cmt_search.explorer.table_view import (
    COLUMNS,
    Sort,
    direction,
    filled_columns,
    label,
    next_sort,
    note,
    sorted_rows,
    table_rows,
    trial_row,
)
from cmt_search.explorer.trial_view import HINT, find_trial, trial_panel
from cmt_search.explorer.words import evidence, status

POINTED = ("front", "triangle", "curves")  # graphs whose points are trials


def connect(app: Dash, live: Live) -> None:
    """Give the page its behaviour."""
    _follow(app, live)
    _draw(app, live)
    _tabulate(app, live)
    _select(app, live)


def _follow(app: Dash, live: Live) -> None:
    @app.callback(
        Output("version", "data"),
        Output("status", "children"),
        Input("tick", "n_intervals"),
        State("version", "data"),
    )
    def follow(_ticks: int | None, version: int) -> tuple[Any, str]:
        snapshot = live.refresh()
        new = no_update if snapshot.version == version else snapshot.version
        return new, status(snapshot)


def _draw(app: Dash, live: Live) -> None:
    for name in GRAPHS:
        app.clientside_callback(
            ClientsideFunction("explorer", "keepView"),
            Output(name, "figure"),
            Input(f"{name}-drawn", "data"),
            State(name, "figure"),
        )

    @app.callback(
        Output("verdict", "children"),
        Output("curves-drawn", "data"),
        Output("triangle-drawn", "data"),
        Output("triangle-card", "hidden"),
        Input("version", "data"),
    )
    def draw(_version: int) -> tuple[Any, ...]:
        analysis = _known(live)
        triangle = triangle_figure(analysis)
        verdict = [
            html.Strong(finding(analysis)),
            html.Ul([html.Li(text) for text in evidence(analysis)]),
        ]
        return verdict, curves_figure(analysis), triangle or blank_figure(), triangle is None

    @app.callback(
        Output("front-drawn", "data"),
        Input("version", "data"),
        Input("x-metric", "value"),
        Input("y-metric", "value"),
        Input("logs", "value"),
        Input("trial", "value"),
    )
    def draw_front(_version: int, x: str, y: str, logs: list[str], trial: int | None) -> Any:
        return front_figure(_known(live), x=x, y=y, logs=logs, selected=trial)


def _tabulate(app: Dash, live: Live) -> None:
    @app.callback(
        Output("rows", "children"),
        Output("table-note", "children"),
        Output({"type": "head", "column": ALL}, "hidden"),
        Output({"type": "head", "column": ALL}, "aria-sort"),
        Output({"type": "sort", "column": ALL}, "children"),
        Input("version", "data"),
        Input("sort", "data"),
    )
    def tabulate(_version: int, sort: Sort) -> tuple[Any, ...]:
        rows = sorted_rows([trial_row(record) for record in _known(live).records], sort)
        columns = filled_columns(rows, sort=sort)
        return (
            table_rows(rows, columns=columns),
            note(len(rows)),
            [name not in columns for name in COLUMNS],
            [direction(name, sort=sort) for name in COLUMNS],
            [label(name, sort=sort) for name in COLUMNS],
        )

    @app.callback(
        Output("sort", "data"),
        Input({"type": "sort", "column": ALL}, "n_clicks"),
        State("sort", "data"),
        prevent_initial_call=True,
    )
    def order(_clicks: list[int | None], sort: Sort) -> Sort:
        _require_click()
        return next_sort(sort, clicked=ctx.triggered_id["column"])


def _select(app: Dash, live: Live) -> None:
    # Clicks are taken off the graphs, so that a second click on the same point is a new one.
    @app.callback(
        Output("trial", "value"),
        *(Output(name, "clickData") for name in POINTED),
        *(Input(name, "clickData") for name in POINTED),
        Input({"type": "row", "trial": ALL}, "n_clicks"),
        prevent_initial_call=True,
    )
    def select(*clicks: Any) -> tuple[Any, ...]:
        _require_click()
        source = ctx.triggered_id
        number = (
            clicked_trial(_known(live), clicks[POINTED.index(source)])
            if source in POINTED
            else source["trial"]
        )
        return (no_update if number is None else number, *(None for _ in POINTED))

    @app.callback(
        Output("trial-panel", "children"),
        Output("trial-curves-drawn", "data"),
        Output("trial-curves-place", "hidden"),
        Input("trial", "value"),
        Input("version", "data"),
    )
    def show(number: int | None, _version: int) -> tuple[Any, Any, bool]:
        analysis = _known(live)
        record = find_trial(analysis.records, number)
        if record is None:
            missing = HINT if number is None else f"There is no trial {number}. {HINT}"
            return html.P(missing), blank_figure(), True
        curves = trial_curves_figure(analysis, record)
        return trial_panel(record), curves or blank_figure(), curves is None


def _known(live: Live) -> Analysis:
    analysis = live.snapshot.analysis
    if analysis is None:
        raise PreventUpdate
    return analysis


def _require_click() -> None:
    """Leave when nothing was clicked: new rows and heads report themselves as well."""
    if not any(trigger["value"] for trigger in ctx.triggered):
        raise PreventUpdate
