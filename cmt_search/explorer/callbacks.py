"""What happens on the page: callbacks that pass the newest snapshot to pure functions."""

from typing import Any

from dash import ClientsideFunction, Dash, Input, Output, State, no_update

from cmt_search.explorer import front_callbacks, more_callbacks, trial_callbacks
from cmt_search.explorer.layout import GRAPHS, conclusion, opened
from cmt_search.explorer.room import Room
from cmt_search.explorer.view import FIELDS, TABS
from cmt_search.explorer.words import status


def connect(app: Dash, room: Room) -> None:
    """Give the page its behaviour."""
    _open(app, room)
    _follow(app, room)
    _dress(app)
    front_callbacks.connect(app, room)
    more_callbacks.connect(app, room)
    trial_callbacks.connect(app, room)


def _open(app: Dash, room: Room) -> None:
    """The address decides the controls when the page is opened, and follows them afterwards."""

    # For browsers that keep the address to themselves when they ask for the page's layout.
    @app.callback(
        *(Output(field.control, "value") for field in FIELDS),
        Output("selection", "data"),
        Input("url", "search"),
        prevent_initial_call=True,
    )
    def open_view(search: str | None) -> tuple[Any, ...]:
        view, selection = opened(room, search)
        return *view.values(), selection

    app.clientside_callback(
        ClientsideFunction("explorer", "writeAddress"),
        Output("address", "data"),
        Input("selection", "data"),
        *(Input(field.control, "value") for field in FIELDS),
        State("fields", "data"),
        prevent_initial_call=True,
    )


def _follow(app: Dash, room: Room) -> None:
    @app.callback(
        Output("version", "data"),
        Output("status", "children"),
        Output("tick", "interval"),
        Input("tick", "n_intervals"),
        State("run", "value"),
        State("version", "data"),
        prevent_initial_call=True,  # the page came with it
    )
    def follow(_ticks: int | None, run: str | None, version: int) -> tuple[Any, ...]:
        now = room.refresh()
        new = no_update if now == version else now
        return new, status(room.snapshot(run)), room.pause

    @app.callback(
        Output("verdict", "children"),
        Output("title", "children"),
        Output("status", "children", allow_duplicate=True),
        Input("version", "data"),
        Input("run", "value"),
        prevent_initial_call=True,
    )
    def conclude(_version: int, run: str | None) -> tuple[list[Any], str, str]:
        analysis = room.known(run)
        return conclusion(analysis), room.study(run).name, status(room.snapshot(run))


def _dress(app: Dash) -> None:
    """What needs no server: the colours of figures, and which view is shown."""
    for name in GRAPHS:
        app.clientside_callback(
            ClientsideFunction("explorer", "dress"),
            Output(name, "figure"),
            Input(f"{name}-drawn", "data"),
            Input("theme", "value"),
            State(name, "figure"),
        )
    app.clientside_callback(
        ClientsideFunction("explorer", "showTab"),
        *(Output(f"tab-{name}", "hidden") for name in TABS),
        Input("tab", "value"),
    )
