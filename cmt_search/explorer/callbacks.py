"""What happens on the page: callbacks that pass the newest snapshot to pure functions."""

from typing import Any

from dash import ClientsideFunction, Dash, Input, Output, State, no_update
from dash.exceptions import PreventUpdate

from cmt_search.explorer import front_callbacks, more_callbacks, trial_callbacks
from cmt_search.explorer.front_view import NOTHING_SELECTED
from cmt_search.explorer.layout import GRAPHS
from cmt_search.explorer.offers import METRIC_CONTROLS, metric_options
from cmt_search.explorer.opening import conclusion, opened
from cmt_search.explorer.room import Room
from cmt_search.explorer.view import FIELDS, TABS
from cmt_search.explorer.words import situation


def connect(app: Dash, room: Room) -> None:
    """Give the page its behaviour."""
    _open(app, room)
    _follow(app, room)
    _dress(app)
    front_callbacks.connect(app, room)
    more_callbacks.connect(app, room)
    trial_callbacks.connect(app, room)
    _switch(app, room)


def _open(app: Dash, room: Room) -> None:
    """The address decides the controls when the page is opened, and follows them afterwards."""

    # For browsers that keep the address to themselves when they ask for the page's layout.
    @app.callback(
        *(Output(field.control, field.prop) for field in FIELDS),
        Output("selection", "data"),
        Output("trials-of", "data"),
        Input("url", "search"),
        prevent_initial_call=True,
    )
    def open_view(search: str | None) -> tuple[Any, ...]:
        view, selection = opened(room, search)
        return *view.values(), selection, view["run"]

    app.clientside_callback(
        ClientsideFunction("explorer", "writeAddress"),
        Output("address", "data"),
        Input("selection", "data"),
        *(Input(field.control, field.prop) for field in FIELDS),
        State("fields", "data"),
        prevent_initial_call=True,
    )


def _switch(app: Dash, room: Room) -> None:
    """Another run has other trials under the same numbers, and perhaps other metrics."""

    @app.callback(
        Output("trial", "value", allow_duplicate=True),
        Output("other", "value", allow_duplicate=True),
        Output("selection", "data", allow_duplicate=True),
        Output("trials-of", "data", allow_duplicate=True),
        Input("run", "value"),
        State("trials-of", "data"),
        prevent_initial_call=True,
    )
    def forget_trials(run: str | None, known: str | None) -> tuple[Any, ...]:
        if run == known:  # the address asked for the run, and for these trials of it
            raise PreventUpdate
        return None, None, NOTHING_SELECTED, run

    @app.callback(
        *(Output(control, "options") for control in METRIC_CONTROLS),
        Output("x-metric", "value", allow_duplicate=True),
        Input("version", "data"),
        Input("run", "value"),
        *(Input(control, "value") for control in METRIC_CONTROLS),
        *(State(control, "options") for control in METRIC_CONTROLS),
        prevent_initial_call=True,  # the page came with them
    )
    def offer(_version: int, run: str | None, *given: Any) -> list[Any]:
        count = len(METRIC_CONTROLS)
        values, held = dict(zip(METRIC_CONTROLS, given, strict=False)), given[count:]
        found = metric_options(room.snapshot(run).analysis, chosen=values)
        options = [
            no_update if new == old else new for new, old in zip(found.values(), held, strict=True)
        ]
        # A page that was opened before the study was read has no metric across yet.
        analysis = room.snapshot(run).analysis
        first = None if analysis is None or values["x-metric"] else analysis.front.metrics[0]
        return [*options, first or no_update]


def _follow(app: Dash, room: Room) -> None:
    @app.callback(
        Output("version", "data"),
        Output("status", "children"),
        Output("tick", "interval"),
        Input("tick", "n_intervals"),
        State("run", "value"),
        State("overlays", "value"),
        State("version", "data"),
        prevent_initial_call=True,  # the page came with it
    )
    def follow(
        _ticks: int | None, run: str | None, overlays: list[str], version: int
    ) -> tuple[Any, ...]:
        now = room.refresh()
        new = no_update if now == version else now
        return new, situation(room, run=run, overlays=overlays), room.pause

    @app.callback(
        Output("verdict", "children"),
        Output("title", "children"),
        Output("status", "children", allow_duplicate=True),
        Output("views", "hidden"),
        Input("version", "data"),
        Input("run", "value"),
        Input("overlays", "value"),
        prevent_initial_call=True,
    )
    def conclude(_version: int, run: str | None, overlays: list[str]) -> tuple[Any, ...]:
        analysis = room.snapshot(run).analysis
        return (
            no_update if analysis is None else conclusion(analysis),
            room.study(run).name,
            situation(room, run=run, overlays=overlays),
            analysis is None,  # what is drawn is another run's
        )


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
