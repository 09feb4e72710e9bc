"""The panel of one trial, or of two side by side."""

import hashlib
from typing import Any

from dash import Dash, Input, Output, State, ctx, html, no_update

from cmt_search.errors import CmtSearchError
from cmt_search.explorer.comparison_view import comparison
from cmt_search.explorer.figures import blank_figure, trial_curves_figure
from cmt_search.explorer.front_callbacks import require_click
from cmt_search.explorer.front_view import clicked_trial
from cmt_search.explorer.room import Room
from cmt_search.explorer.study import Study
from cmt_search.explorer.trial_view import HINT, find_trial, trial_panel
from cmt_search.search import TrialRecord

POINTED = ("front", "triangle", "curves", "timeline")  # graphs whose points are trials


def connect(app: Dash, room: Room) -> None:
    """Give the panel its behaviour."""
    _select(app, room)
    _show(app, room)
    _export(app, room)


def _select(app: Dash, room: Room) -> None:
    # Clicks are taken off the graphs, so that a second click on the same point is a new one.
    @app.callback(
        Output("trial", "value", allow_duplicate=True),
        *(Output(name, "clickData") for name in POINTED),
        *(Input(name, "clickData") for name in POINTED),
        Input("shown-row", "data"),
        State("run", "value"),
        prevent_initial_call=True,
    )
    def select(*given: Any) -> tuple[Any, ...]:
        require_click()
        *clicks, row, run = given
        source = ctx.triggered_id
        number = (
            clicked_trial(room.known(run), clicks[POINTED.index(source)])
            if source in POINTED
            else row["trial"]
        )
        return (no_update if number is None else number, *(None for _ in POINTED))


def _show(app: Dash, room: Room) -> None:
    @app.callback(
        Output("trial-panel", "children"),
        Output("trial-curves-drawn", "data"),
        Output("trial-curves-place", "hidden"),
        Output("export-trial", "disabled"),
        Output("trial-panel", "data-shown"),
        Input("trial", "value"),
        Input("other", "value"),
        Input("painted", "data"),
        Input("run", "value"),
        State("trial-panel", "data-shown"),
    )
    def show(
        number: int | None,
        other: int | None,
        _painted: str | None,
        run: str | None,
        shown: str | None,
    ) -> tuple[Any, ...]:
        analysis, study = room.known(run), room.study(run)
        record, second = (find_trial(analysis.records, one) for one in (number, other))
        now = _digest(study.name, number, other, record, second)
        if now == shown:  # drawn anew, what the reader has unfolded would be folded again
            return (no_update,) * 5
        if record is None:
            missing = HINT if number is None else f"There is no trial {number}. {HINT}"
            return html.P(missing), blank_figure(), True, True, now
        pair = (record,) if second is None or second is record else (record, second)
        curves = trial_curves_figure(analysis, *pair)
        panel = _panel(study, *pair)
        if other is not None and second is None:
            panel = [html.P(f"There is no trial {other} to compare with."), *panel]
        unwritten = study.export is None or not record.rungs
        return panel, curves or blank_figure(), curves is None, unwritten, now


def _panel(study: Study, record: TrialRecord, second: TrialRecord | None = None) -> list[Any]:
    if second is not None:
        return comparison(record, second)
    commands = study.commands(record) if study.commands and record.rungs else ()
    return trial_panel(record, commands=commands)


def _digest(*parts: object) -> str:
    """Tells whether the panel would show the same."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def _export(app: Dash, room: Room) -> None:
    @app.callback(
        Output("exported", "children"),
        Input("export-trial", "n_clicks"),
        Input("trial", "value"),
        State("run", "value"),
        running=[(Output("export-trial", "children"), "Writing ...", "Export as YAML")],
        prevent_initial_call=True,
    )
    def export(_clicks: int | None, number: int | None, run: str | None) -> str:
        if ctx.triggered_id != "export-trial":
            return ""
        require_click()
        study = room.study(run)
        record = find_trial(room.known(run).records, number)
        if record is None or study.export is None:
            return ""
        try:
            return f"Written: {study.export(record)}"
        except CmtSearchError as error:
            return f"Not written: {error}"
