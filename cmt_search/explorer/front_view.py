"""The front on any two metrics, and which trial a click on a figure means."""

import re
from collections.abc import Collection, Mapping
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from cmt_search.analysis import Analysis, Front, draw_front, front_data, pareto_front
from cmt_search.analysis.figure_style import (
    BLUE,
    GREY,
    VERMILLION,
    log_ticks,
    short_macs,
    styled,
)
from cmt_search.analysis.frame import REALISED
from cmt_search.analysis.front import MAXIMISED
from cmt_search.explorer.metrics import METRICS

Numbers: TypeAlias = "pd.Series[float]"

REPORTED = ("macs", "top1")  # the front that the report draws, with rules and predictions over it
_NOT_IN_A_CSS_NAME = re.compile(r"[^a-z0-9]+")
_TRIAL = re.compile(r"\btrial (\d+)\b")


def front_figure(
    analysis: Analysis,
    *,
    x: str = "macs",
    y: str = "top1",
    logs: Collection[str] = ("x",),
    selected: int | None = None,
) -> go.Figure:
    """The front on metrics `x` and `y`; the networks of the selected trial are ringed.

    On MACs and top1 it is the report's own figure.
    """
    if (x, y) == REPORTED == analysis.front.metrics:
        data = front_data(analysis)
        front, figure = analysis.front, draw_front(data)
        _name_trials(figure, data.rules, frame=analysis.frame)
    else:
        front = pareto_front(analysis.frame, metrics=(x, y))
        figure = _draw(front)
    if selected is not None:
        keys = analysis.frame.loc[analysis.frame["trial"] == selected, "key"]
        rows = front.networks[front.networks["key"].isin(keys)]
        _ring(figure, x=_shown(rows, x), y=_shown(rows, y), name=f"trial {selected}")
    figure.update_xaxes(**_axis(x, values=_shown(front.networks, x), log="x" in logs))
    figure.update_yaxes(**_axis(y, values=_shown(front.networks, y), log="y" in logs))
    return keep_view(figure, view=f"{x} {y} {sorted(logs)}")


def keep_view(figure: go.Figure, *, view: str) -> go.Figure:
    """Let zoom and hidden traces outlive new data, for as long as `view` stays the same."""
    for trace in figure.data:
        if trace.name and trace.showlegend is not False:  # its count grows, what it names stays
            name = trace.name.split(" (")[0].lower()
            trace.uid = "trace-" + _NOT_IN_A_CSS_NAME.sub("-", name)  # plotly selects by it
    return figure.update_layout(uirevision=view)


def clicked_trial(analysis: Analysis, click: Mapping[str, Any] | None) -> int | None:
    """The trial that a click means, by the point's data, its text, or its place in the triangle."""
    point = click["points"][0] if click and click.get("points") else {}
    data = point.get("customdata")
    numbers = [value for value in data if isinstance(value, int)] if isinstance(data, list) else []
    if numbers:  # a point of a network: its trial is the first whole number
        return numbers[0]
    found = _TRIAL.search(point.get("text") or "")
    if found:
        return int(found[1])
    if all(corner in point for corner in "abc"):
        return _nearest_trial(analysis, shares=(point["b"], point["c"], point["a"]))
    return None


def _nearest_trial(analysis: Analysis, *, shares: tuple[float, float, float]) -> int | None:
    """The trial whose network at the largest budget is nearest in realised shares."""
    if analysis.verdict is None:
        return None
    table = analysis.front.networks.dropna(subset=REALISED)
    table = table[table["budget"] == analysis.verdict.budget]
    if table.empty:
        return None
    distance = np.linalg.norm(table[REALISED].to_numpy(dtype=float) - np.array(shares), axis=1)
    return int(table["trial"].iloc[int(distance.argmin())])


def _name_trials(figure: go.Figure, rules: pd.DataFrame, *, frame: pd.DataFrame) -> None:
    """Give the points of the named rules their trials, which the report has no use for."""
    trials = frame.groupby(["name", "key"])["trial"].first()
    for trace in figure.data:
        rule = rules[rules["name"] == trace.name]
        if len(rule):
            trace.customdata = [[int(trials[trace.name, key])] for key in rule["key"]]


def _draw(front: Front) -> go.Figure:
    x, y = front.metrics
    figure = go.Figure()
    table = front.networks
    for on_front, name, colour, size in (
        (False, "dominated", GREY, 7),
        (True, "on the front", BLUE, 10),
    ):
        rows = table[table["on_front"] == on_front].sort_values(x)
        figure.add_scatter(
            x=_shown(rows, x),
            y=_shown(rows, y),
            mode="lines+markers" if on_front else "markers",
            name=f"{name} ({len(rows)})",
            # What stays reachable between two networks of the front is the better-known one.
            line={"color": BLUE, "width": 2, "shape": "vh" if MAXIMISED[x] else "hv"},
            marker={"color": colour, "size": size, "line": {"color": "white", "width": 1}},
            customdata=rows[["name", "trial", "resolution", "depths", "widths"]],
            hovertemplate=(
                "%{customdata[0]} (trial %{customdata[1]})<br>"
                f"%{{x:.4s}} {METRICS[x].short}, %{{y:.4s}} {METRICS[y].short}<br>"
                "%{customdata[2]} px, depths %{customdata[3]}, widths %{customdata[4]}"
                "<extra></extra>"
            ),
        )
    return styled(
        figure,
        title=f"{len(front.members)} of {len(table)} networks stand on the front",
        subtitle=f"{METRICS[y].short} against {METRICS[x].short}, at full fidelity",
    )


def _ring(figure: go.Figure, *, x: Numbers, y: Numbers, name: str) -> None:
    figure.add_scatter(
        x=x,
        y=y,
        mode="markers",
        name=name,
        marker={
            "symbol": "circle-open",
            "size": 18,
            "color": VERMILLION,
            "line": {"width": 3, "color": VERMILLION},
        },
        hoverinfo="skip",
    )


def _shown(networks: pd.DataFrame, metric: str) -> Numbers:
    return METRICS[metric].scale * networks[metric].astype(float)


def _axis(name: str, *, values: Numbers, log: bool) -> dict[str, Any]:
    metric = METRICS[name]
    axis: dict[str, Any] = {
        "type": "log" if log else "linear",
        "title": {"text": metric.label + (", log scale" if log else "")},
        "tickvals": None,
        "ticktext": None,
    }
    if log and metric.count and len(values):
        ticks = log_ticks(float(values.min()), float(values.max()))
        axis |= {"tickvals": ticks, "ticktext": [short_macs(tick) for tick in ticks]}
    return axis
