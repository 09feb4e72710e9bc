"""The page: every control and the places that callbacks fill."""

from typing import Any

from dash import dcc, html

from cmt_search.explorer.figures import blank_figure
from cmt_search.explorer.live import Snapshot
from cmt_search.explorer.metrics import METRICS
from cmt_search.explorer.table_view import FIRST_SORT, trials_table
from cmt_search.explorer.trial_view import HINT
from cmt_search.explorer.words import status

GRAPHS = ("front", "triangle", "curves", "trial-curves")
GRAPH_CONFIG = {"displaylogo": False}


def page(*, title: str, refresh_seconds: float) -> Any:
    """The page before any study is read."""
    return html.Div(
        [
            dcc.Interval(id="tick", interval=1000 * refresh_seconds),
            dcc.Store(id="version", data=0),
            dcc.Store(id="sort", data=FIRST_SORT),
            html.Header(
                [
                    html.H1(title),
                    html.P(status(Snapshot()), id="status", role="status"),
                ]
            ),
            html.Div([html.Main(_views()), _trial()], className="columns"),
        ],
        className="page",
    )


def _views() -> list[Any]:
    return [
        html.Section(id="verdict", className="card verdict"),
        _card("Front", _axis_controls(), _graph("front")),
        _card("Triangle", _graph("triangle"), id="triangle-card", hidden=True),
        _card("Learning curves", _graph("curves")),
        _card("Trials", html.P(id="table-note", className="note"), trials_table(), id="trials"),
    ]


def _trial() -> Any:
    return html.Aside(
        [
            html.Label(
                ["Trial ", dcc.Input(id="trial", type="number", min=0, step=1, debounce=True)]
            ),
            html.Div(html.P(HINT), id="trial-panel"),
            html.Div(_graph("trial-curves"), id="trial-curves-place", hidden=True),
        ],
        className="card trial",
        **{"aria-label": "One trial"},
    )


def _axis_controls() -> Any:
    options = [{"label": metric.short, "value": name} for name, metric in METRICS.items()]
    scales = [{"label": "across", "value": "x"}, {"label": "up", "value": "y"}]
    return html.Div(
        [
            _group("Across", dcc.RadioItems(options, "macs", id="x-metric", inline=True)),
            _group("Up", dcc.RadioItems(options, "top1", id="y-metric", inline=True)),
            _group("Log scale", dcc.Checklist(scales, ["x"], id="logs", inline=True)),
        ],
        className="controls",
    )


def _group(legend: str, control: Any) -> Any:
    return html.Fieldset([html.Legend(legend), control])


def _card(heading: str, *parts: Any, **properties: Any) -> Any:
    return html.Section([html.H2(heading), *parts], className="card", **properties)


def _graph(name: str) -> Any:
    assert name in GRAPHS
    drawn = dcc.Store(id=f"{name}-drawn")  # what the server drew; the browser adds the user's zoom
    return html.Div([drawn, dcc.Graph(id=name, figure=blank_figure(), config=GRAPH_CONFIG)])
