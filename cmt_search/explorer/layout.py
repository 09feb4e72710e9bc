"""The page: every control and the places that callbacks fill."""

from typing import Any

from dash import dcc, html

from cmt_search.analysis.figure_front import CATEGORIES, OVERLAYS
from cmt_search.analysis.page import PLOTLY_CONFIG
from cmt_search.explorer.figures import blank_figure
from cmt_search.explorer.study import Studies
from cmt_search.explorer.table_view import trials_table
from cmt_search.explorer.trial_view import HINT
from cmt_search.explorer.view import (
    FIELDS,
    NO_METRIC,
    SELECTED,
    TABS,
    THEMES,
)
from cmt_search.search.importance import EVALUATORS

GRAPHS = (
    *("front", "parallel", "triangle", "curves", "trial-curves"),
    *("progress", "importances", "timeline", "failures"),
)
_CONFIG: dict[str, Any] = {**PLOTLY_CONFIG, "displayModeBar": "hover"}
_CONFIGS = {"front": {**_CONFIG, "modeBarButtonsToAdd": ["select2d", "lasso2d"]}}


def blank_page(studies: Studies) -> Any:
    """The page with every control, and nothing of a study in it."""
    return html.Div(
        [
            dcc.Location(id="url", refresh=False),
            dcc.Interval(id="tick"),
            dcc.Store(id="version"),
            dcc.Store(id="sort"),
            dcc.Store(id="table-page", data=0),
            dcc.Store(id="selection"),
            dcc.Store(id="trials-of"),  # the run whose trials all numbers mean
            dcc.Store(id="shown-row"),
            dcc.Store(id="ticked-row"),
            dcc.Store(id="dragged"),
            dcc.Store(id="rows-drawn"),
            dcc.Store(id="painted"),  # the version whose front is on the screen
            dcc.Store(id="fields", data=_fields(studies)),
            dcc.Store(id="address"),
            dcc.Download(id="download"),
            html.A("Skip to the trials", href="#trials", className="skip"),
            html.A("Skip to the chosen trial", href="#one-trial", className="skip"),
            _header(studies),
            html.Div([html.Main(_views(studies)), _trial()], className="columns", id="views"),
        ],
        className="page",
    )


def _fields(studies: Studies) -> list[list[Any]]:
    """Names in the address, with the values that it leaves out."""
    first = {"run": next(iter(studies))}
    return [[f.name, first.get(f.name, f.default)] for f in FIELDS] + [[SELECTED, None]]


def _header(studies: Studies) -> Any:
    names = list(studies)
    run = dcc.Dropdown(
        names, names[0], id="run", clearable=False, searchable=False, className="wide"
    )
    return html.Header(
        [
            html.Div(
                [
                    html.H1(id="title"),
                    html.Div(_labelled("Run", run), hidden=len(names) == 1),
                    _group("View", _radio(TABS, "front", id="tab")),
                    _group("Colours", _radio({name: name for name in THEMES}, "auto", id="theme")),
                ],
                className="bar",
            ),
            html.P(id="status", role="status"),
        ]
    )


def _views(studies: Studies) -> list[Any]:
    return [
        html.Section(id="verdict", className="card verdict"),
        html.Div(_front(studies), id="tab-front"),
        html.Div(_triangle(), id="tab-triangle"),
        html.Div(_progress(), id="tab-progress"),
    ]


def _front(studies: Studies) -> list[Any]:
    return [
        _card("Front", _front_controls(studies), _graph("front")),
        _card("Parallel coordinates", _graph("parallel")),
        _card(
            "Trials",
            html.Div(
                [
                    _labelled(
                        "Filter",
                        dcc.Input(
                            id="filter",
                            value="",
                            placeholder="words in name, state, reason",
                            debounce=True,
                        ),
                    ),
                    html.Button("Select these rows", id="select-rows"),
                    html.Button("Clear the selection", id="clear"),
                    html.Button("Selection as CSV", id="to-csv"),
                    html.Span(id="selected-note", role="status", className="note"),
                    html.Span(id="address-note", role="status", className="note"),
                ],
                className="controls",
            ),
            html.P(id="table-note", className="note"),
            trials_table(),
            html.Div(
                [
                    html.Button("Previous", id="previous-page"),
                    html.Span(id="page-note", className="note"),
                    html.Button("Next", id="next-page"),
                ],
                className="controls pager",
            ),
            id="trials",
        ),
    ]


def _front_controls(studies: Studies) -> Any:
    axes = {"x": "across", "y": "up", "z": "deep"}
    overlays = OVERLAYS | (
        {f"run:{name}": f"run {name}" for name in studies} if len(studies) > 1 else {}
    )
    return html.Div(
        [
            _labelled("Across", _dropdown("x-metric", "macs")),
            _labelled("Up", _dropdown("y-metric", "top1")),
            _labelled("Deep", _dropdown("z-metric", NO_METRIC)),
            _group("Log scale", _checks(axes, ["x"], id="logs")),
            _group("Flipped", _checks(axes, [], id="flips")),
            _group(
                "Shown",
                _checks({**CATEGORIES, "bars": "error bars"}, list(CATEGORIES), id="shown"),
            ),
            _group("Laid over", _checks(overlays, [], id="overlays")),
        ],
        className="controls",
    )


def _triangle() -> list[Any]:
    share: dict[str, Any] = {"min": 0, "max": 1, "step": 0.01, "marks": {0: "0", 1: "1"}}
    return [
        html.Section(
            [
                html.H2("Triangle"),
                html.P(id="triangle-missing", className="note"),
                html.Div(
                    [
                        _slider(
                            "Budget",
                            dcc.Slider(0, 1, id="budget", step=0.01, allow_direct_input=False),
                        ),
                        _slider("Depth's share", dcc.Slider(id="depth-share", **share)),
                        _slider("Width's share", dcc.Slider(id="width-share", **share)),
                        html.P(id="chosen-note", className="note", role="status"),
                    ],
                    className="sliders",
                ),
                html.Div(
                    _graph("triangle"),
                    id="triangle-keys",
                    tabIndex=0,
                    role="group",
                    **{"aria-label": "Map of the triangle: arrow keys move the chosen point"},
                ),
                html.H3("The network of the chosen point"),
                html.Div(id="solved"),
            ],
            className="card",
            id="triangle-card",
        )
    ]


def _progress() -> list[Any]:
    return [
        _card("Progress", _graph("progress")),
        _card("Learning curves", _graph("curves")),
        _card(
            "Importances",
            html.Div(
                [
                    _labelled("Of", _dropdown("importance-metric", "top1")),
                    _group("By", _radio(dict(EVALUATORS), "ped-anova", id="importance-judge")),
                ],
                className="controls",
            ),
            html.P(id="importances-missing", className="note"),
            html.Div(_graph("importances"), id="importances-place"),
        ),
        _card("Timeline", _graph("timeline")),
        _card(
            "Failures",
            html.P(id="failures-missing", className="note"),
            html.Div(_graph("failures"), id="failures-place"),
        ),
    ]


def _trial() -> Any:
    def number(name: str) -> Any:
        return dcc.Input(id=name, type="number", min=0, step=1, debounce=True)

    return html.Aside(
        [
            html.Div(
                [
                    html.Label(["Trial ", number("trial")]),
                    html.Label(["against ", number("other")]),
                    html.Button("Export as YAML", id="export-trial", disabled=True),
                ],
                className="controls",
            ),
            html.P(id="exported", role="status", className="note"),
            html.Div(html.P(HINT), id="trial-panel"),
            html.Div(_graph("trial-curves"), id="trial-curves-place", hidden=True),
        ],
        className="card trial",
        id="one-trial",
        tabIndex=-1,  # so that a link to it can take the focus there
        **{"aria-label": "One trial, or two"},
    )


def _group(legend: str, control: Any) -> Any:
    return html.Fieldset([html.Legend(legend), control])


def _labelled(label: str, control: Any) -> Any:
    return html.Div([html.Label(label, htmlFor=control.id), control], className="labelled")


def _slider(label: str, control: Any) -> Any:
    return html.Div([html.Span(label, className="label"), control], className="slider")


def _radio(labels: dict[Any, str], value: str, *, id: str) -> Any:  # noqa: A002
    options = [{"label": label, "value": name} for name, label in labels.items()]
    return dcc.RadioItems(options, value, id=id, inline=True)


def _checks(labels: dict[str, str], value: list[str], *, id: str) -> Any:  # noqa: A002
    options = [{"label": label, "value": name} for name, label in labels.items()]
    return dcc.Checklist(options, value, id=id, inline=True)


def _dropdown(name: str, value: str) -> Any:
    """Of metrics; which of them are offered depends on the study."""
    return dcc.Dropdown(value=value, id=name, clearable=False, searchable=False)


def _card(heading: str, *parts: Any, **properties: Any) -> Any:
    return html.Section([html.H2(heading), *parts], className="card", **properties)


def _graph(name: str) -> Any:
    assert name in GRAPHS
    drawn = dcc.Store(id=f"{name}-drawn")  # what the server drew; the browser adds zoom and theme
    graph = dcc.Graph(id=name, figure=blank_figure(), config=_CONFIGS.get(name, _CONFIG))
    return html.Div([drawn, graph])
