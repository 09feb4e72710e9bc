"""The front, the parallel coordinates and the table: one selection of trials for all three."""

from collections.abc import Sequence
from typing import Any

from dash import ALL, ClientsideFunction, Dash, Input, Output, State, ctx, no_update
from dash.exceptions import PreventUpdate

from cmt_search.analysis import Analysis, selection_csv
from cmt_search.analysis.figure_parallel import brushed, draw_parallel, inside, parallel_data
from cmt_search.explorer.front_view import (
    CONTROLS,
    NOTHING_SELECTED,
    Selection,
    drawn_front,
    keep_view,
    selected_trials,
)
from cmt_search.explorer.room import Room
from cmt_search.explorer.table_view import (
    COLUMNS,
    SHOWN,
    Row,
    Sort,
    direction,
    filled_columns,
    label,
    matching,
    next_sort,
    note,
    page_note,
    sorted_rows,
    table_rows,
    trial_row,
)
from cmt_search.format import counted


def connect(app: Dash, room: Room) -> None:
    """Give the front's view its behaviour."""
    _draw(app, room)
    _select(app, room)
    _tabulate(app, room)


def _draw(app: Dash, room: Room) -> None:
    @app.callback(
        Output("front-drawn", "data"),
        Input("version", "data"),
        Input("tab", "value"),
        Input("selection", "data"),
        *(Input(name, "value") for name in CONTROLS),
        prevent_initial_call=True,  # the page came with it
    )
    def draw_front(_version: int, tab: str, selection: Selection, *given: Any) -> Any:
        if tab != "front":
            return no_update
        return drawn_front(room, dict(zip(CONTROLS, given, strict=True)), selection=selection)

    # The front comes first and alone: everything else waits until it is painted.
    app.clientside_callback(
        ClientsideFunction("explorer", "painted"),
        Output("painted", "data"),
        Input("front", "figure"),
        Input("version", "data"),
        Input("run", "value"),
        Input("tab", "value"),
        State("painted", "data"),
    )

    @app.callback(
        Output("parallel-drawn", "data"),
        Input("painted", "data"),
        Input("run", "value"),
        Input("tab", "value"),
        Input("selection", "data"),
    )
    def draw_lines(_painted: Any, run: str | None, tab: str, selection: Selection) -> Any:
        if tab != "front" or ("selection" in _triggers() and selection["by"] == "parallel"):
            return no_update  # plotly has drawn what was brushed there already
        own = selection["by"] == "parallel"
        data = parallel_data(room.known(run), trials=None if own else selection["trials"])
        ranges = selection["ranges"] if own else None
        return keep_view(draw_parallel(data, ranges=ranges), view=str(selection["trials"]))


def _select(app: Dash, room: Room) -> None:
    @app.callback(
        Output("selection", "data", allow_duplicate=True),
        Input("front", "selectedData"),
        Input("parallel", "restyleData"),
        Input("ticked-row", "data"),
        Input("select-rows", "n_clicks"),
        Input("clear", "n_clicks"),
        State("selection", "data"),
        State("filter", "value"),
        State("run", "value"),
        prevent_initial_call=True,
    )
    def select(
        front: Any,
        parallel: Any,
        ticked: Any,
        _rows: Any,
        _clear: Any,
        selection: Selection,
        words: str,
        run: str | None,
    ) -> Any:
        analysis, source = room.known(run), ctx.triggered_id
        if source == "clear":
            return NOTHING_SELECTED
        if source == "front":
            return _by_front(selection, front)
        if source == "parallel":
            return _by_ranges(analysis, selection, parallel)
        if source == "select-rows":
            return {**NOTHING_SELECTED, "trials": _numbers(analysis, words), "by": "table"}
        require_click()
        picked = set(selection["trials"] or ()) ^ {ticked["trial"]}
        return {
            **NOTHING_SELECTED,
            "trials": sorted(picked) or None,
            "by": "table" if picked else "",
        }

    @app.callback(
        Output("download", "data"),
        Input("to-csv", "n_clicks"),
        State("selection", "data"),
        State("run", "value"),
        prevent_initial_call=True,
    )
    def to_csv(_clicks: int | None, selection: Selection, run: str | None) -> Any:
        require_click()
        text = selection_csv(room.known(run).frame, selection["trials"])
        return {"content": text, "filename": f"{room.study(run).name}-trials.csv"}


def _tabulate(app: Dash, room: Room) -> None:
    @app.callback(
        Output("rows-drawn", "data"),
        Output("table-note", "children"),
        Output("page-note", "children"),
        Output("selected-note", "children"),
        Output({"type": "head", "column": ALL}, "hidden"),
        Output({"type": "head", "column": ALL}, "aria-sort"),
        Output({"type": "sort", "column": ALL}, "children"),
        Input("painted", "data"),
        Input("run", "value"),
        Input("sort", "data"),
        Input("table-page", "data"),
        Input("filter", "value"),
        Input("selection", "data"),
    )
    def tabulate(
        _painted: Any, run: str | None, sort: Sort, page: int, words: str, selection: Selection
    ) -> tuple[Any, ...]:
        every = [trial_row(record) for record in room.known(run).records]
        chosen = selection["trials"]
        kept = set(chosen) if chosen is not None and selection["by"] != "table" else None
        rows = sorted_rows(
            (r for r in matching(every, words) if kept is None or r["trial"] in kept), sort
        )
        columns = filled_columns(every, sort=sort)
        start = min(page, max(0, len(rows) - 1) // SHOWN) * SHOWN
        return (
            table_rows(rows[start : start + SHOWN], columns=columns, picked=chosen or ()),
            note(),
            page_note(start, len(rows), every=len(every)),
            "All trials"
            if chosen is None
            else f"{len(chosen)} of {counted(len(every), 'trial')} selected",
            [name not in columns for name in COLUMNS],
            [direction(name, sort=sort) for name in COLUMNS],
            [label(name, sort=sort) for name in COLUMNS],
        )

    app.clientside_callback(ClientsideFunction("explorer", "drawRows"), Input("rows-drawn", "data"))

    @app.callback(
        Output("sort", "data", allow_duplicate=True),
        Input({"type": "sort", "column": ALL}, "n_clicks"),
        State("sort", "data"),
        prevent_initial_call=True,
    )
    def order(_clicks: list[int | None], sort: Sort) -> Sort:
        require_click()
        return next_sort(sort, clicked=ctx.triggered_id["column"])

    @app.callback(
        Output("table-page", "data"),
        Input("previous-page", "n_clicks"),
        Input("next-page", "n_clicks"),
        Input("sort", "data"),
        Input("filter", "value"),
        Input("selection", "data"),
        State("table-page", "data"),
        State("run", "value"),
        prevent_initial_call=True,
    )
    def turn(
        _back: Any, _on: Any, _sort: Any, _words: Any, selection: Selection, page: int, run: str
    ) -> Any:
        if ctx.triggered_id == "next-page":
            last = (len(room.known(run).records) - 1) // SHOWN
            return min(page + 1, last)
        if ctx.triggered_id == "previous-page":
            return max(page - 1, 0)
        return no_update if selection["by"] == "table" and page else 0


def _by_front(selection: Selection, drawn: Any) -> Any:
    if drawn is None:  # a box was taken away
        return NOTHING_SELECTED if selection["by"] == "front" else no_update
    trials = selected_trials(drawn)
    if trials is None or trials == selection["trials"]:
        return no_update
    return {**NOTHING_SELECTED, "trials": trials, "by": "front"}


def _by_ranges(analysis: Analysis, selection: Selection, restyle: Any) -> Any:
    own = selection["by"] == "parallel"
    shown = None if own else selection["trials"]
    data = parallel_data(analysis, trials=shown)
    ranges = brushed(selection["ranges"] if own else {}, restyle[0], axes=data.axes)
    if ranges == selection["ranges"]:
        raise PreventUpdate
    if not ranges:
        return NOTHING_SELECTED
    return {"trials": inside(data, ranges), "by": "parallel", "ranges": ranges}


def _numbers(analysis: Analysis, words: str) -> list[int]:
    rows: Sequence[Row] = [trial_row(record) for record in analysis.records]
    return [row["trial"] for row in matching(rows, words)]


def _triggers() -> set[str]:
    return {trigger["prop_id"].split(".")[0] for trigger in ctx.triggered}


def require_click() -> None:
    """Leave when nothing was clicked: new rows and heads report themselves as well."""
    if not any(trigger["value"] for trigger in ctx.triggered):
        raise PreventUpdate
