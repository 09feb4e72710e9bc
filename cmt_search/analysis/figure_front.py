"""The front on any metrics: networks by category, with rules and published backbones over it."""

from typing import Any

import pandas as pd
import plotly.graph_objects as go

from cmt_search.analysis.figure_style import (
    BLACK,
    BLUE,
    GREY,
    ORANGE,
    SKY,
    log_ticks,
    short_macs,
    styled,
    without_empty_axes,
)
from cmt_search.analysis.front import MAXIMISED
from cmt_search.analysis.front_overlays import (
    add_discovered,
    add_others,
    add_published,
    add_rules,
    not_drawn,
)
from cmt_search.analysis.front_traces import CATEGORIES, OVERLAYS, FrontStyle, FrontTraces
from cmt_search.analysis.front_values import FrontData, cost_shown, front_data
from cmt_search.analysis.metrics import METRICS, display_values
from cmt_search.format import percent, points

__all__ = [
    "CATEGORIES",
    "OVERLAYS",
    "FrontData",
    "FrontStyle",
    "cost_shown",
    "draw_front",
    "front_data",
    "front_headline",
]


def draw_front(data: FrontData, style: FrontStyle | None = None) -> go.Figure:
    """Draw the front figure."""
    style = style or FrontStyle()
    traces = FrontTraces(figure=go.Figure(), data=data, style=style)
    order = data.metrics[0]
    on_front = data.networks[data.networks["on_front"]].sort_values(order)
    dominated = data.networks[~data.networks["on_front"]]
    _add_noise_band(traces, on_front)
    for kind, label, colour, symbol in (
        ("running", "in training", SKY, "circle-open"),
        ("interrupted", "interrupted", SKY, "square-open"),
        ("pruned", "stopped early", ORANGE, "triangle-down"),
    ):
        rows = data.unfinished[data.unfinished["state"] == kind]
        if "stopped" not in style.hide and len(rows):
            traces.networks(
                rows, name=f"{label} ({len(rows)})", colour=colour, size=7, symbol=symbol
            )
    if "dominated" not in style.hide:
        traces.networks(dominated, name=f"dominated ({len(dominated)})", colour=GREY, size=7)
    if traces.flat:
        _add_staircase(traces, on_front)
    traces.networks(on_front, name=f"on the front ({len(on_front)})", colour=BLUE, size=10)
    if "rules" not in style.hide:
        add_rules(traces)
    if "discovered" not in style.hide:
        add_discovered(traces)
    if "failed" not in style.hide:
        _add_failed(traces)
    if "infeasible" not in style.hide:
        _add_infeasible(traces)
    add_others(traces)
    for overlay in OVERLAYS:
        if overlay in style.overlays:
            add_published(traces, overlay)
    _style_axes(traces)
    lines = [line for line in (data.hypervolume, not_drawn(traces)) if line]
    styled(traces.figure, title=_title(data), subtitle="<br>".join(lines))
    if not traces.flat:
        traces.figure.update_layout(height=680, margin={"l": 10, "r": 10, "b": 10})
    return without_empty_axes(traces.figure)


def front_headline(networks: pd.DataFrame, *, cost: str = "macs") -> str:
    """Summarise the front of accuracy against a cost in a sentence."""
    front, text = networks[networks["on_front"]].sort_values(cost), METRICS[cost].text
    if front.empty:
        return "No network is measured at full fidelity yet"
    first, last = front.iloc[0], front.iloc[-1]
    if len(front) == 1:
        return f"One network beats all {len(networks)}: {percent(last['top1'])}"
    if last[cost] < 1.05 * first[cost]:
        return f"The front ends with {percent(last['top1'])} at {text(last[cost])}"
    return (
        f"The front rises from {percent(first['top1'])} at {text(first[cost])} "
        f"to {percent(last['top1'])} at {text(last[cost])}"
    )


def _add_staircase(traces: FrontTraces, on_front: pd.DataFrame) -> None:
    x, y = traces.data.metrics
    traces.figure.add_scatter(
        x=display_values(on_front, x),
        y=display_values(on_front, y),
        mode="lines",
        # What stays reachable between two networks of the front is the better-known one.
        line={"color": BLUE, "width": 2, "shape": "vh" if MAXIMISED[x] else "hv"},
        showlegend=False,
        hoverinfo="skip",
    )


def _add_noise_band(traces: FrontTraces, on_front: pd.DataFrame) -> None:
    data, sd = traces.data, traces.data.noise_sd
    if sd is None or len(on_front) < 2 or not traces.flat or "band" in traces.style.hide:
        return
    x, y = data.metrics
    spread = f"{points(sd)} pp" if y == "top1" else f"{sd:.2g} nats"
    for sign in (1, -1):
        traces.figure.add_scatter(
            x=display_values(on_front, x),
            y=display_values(on_front, y) + METRICS[y].scale * sign * sd,
            mode="lines",
            line={"width": 0, "shape": "vh" if MAXIMISED[x] else "hv"},
            fill=None if sign > 0 else "tonexty",
            fillcolor="rgba(0, 114, 178, 0.13)",
            name=f"±1 seed SD ({spread})",
            showlegend=sign < 0,
            hoverinfo="skip",
        )


def _add_failed(traces: FrontTraces) -> None:
    data, failed = traces.data, traces.data.failed
    if failed.empty:
        return
    places = {name: failed[name].astype(float).fillna(_edge(data, name)) for name in data.metrics}
    traces.points(
        failed.assign(**places),
        hover_columns=("name", "reason"),
        name=f"failed ({len(failed)}), no accuracy",
        marker=_cross(traces, flat="x-thin", deep="x"),
        hovertemplate="%{customdata[2]} %{customdata[0]}: %{customdata[1]}<extra></extra>",
    )


def _add_infeasible(traces: FrontTraces) -> None:
    """Add a legend entry; without a network there is nothing to draw."""
    if not traces.data.infeasible:
        return
    trace = {
        **{axis: [None] for axis in ("xy" if traces.flat else "xyz")},
        "type": "scatter" if traces.flat else "scatter3d",
        "mode": "markers",
        "name": f"infeasible ({traces.data.infeasible}), no network",
        "marker": _cross(traces, flat="asterisk", deep="cross"),
    }
    traces.figure.add_trace(trace)


def _cross(traces: FrontTraces, *, flat: str, deep: str) -> dict[str, Any]:
    """A mark for what was not measured; in space plotly has only filled ones."""
    if traces.flat:
        return {"color": BLACK, "symbol": flat, "size": 9, "line": {"width": 2, "color": BLACK}}
    return {"color": BLACK, "symbol": deep, "size": 3}


def _edge(data: FrontData, metric: str) -> float:
    """Just beyond the worst value: where stands what was never measured."""
    values = pd.concat([data.networks[metric], data.unfinished[metric]]).astype(float).dropna()
    if values.empty:
        return 0.0
    step = 0.01 if metric == "top1" else 0.03 * float(values.max() - values.min())
    return float(values.min() - step if MAXIMISED[metric] else values.max() + step)


def _style_axes(traces: FrontTraces) -> None:
    axes = {
        axis: _axis(traces, axis, name)
        for axis, name in zip("xyz", traces.data.metrics, strict=False)
    }
    if len(axes) == 3:
        for axis in axes.values():
            axis["title"]["font"] = {"size": 12}
        scene = {f"{axis}axis": style for axis, style in axes.items()}
        camera = {"eye": {"x": 1.7, "y": 1.7, "z": 0.8}, "center": {"z": -0.15}}
        traces.figure.update_layout(scene={**scene, "camera": camera})
        return
    traces.figure.update_xaxes(**axes["x"])
    traces.figure.update_yaxes(**axes["y"])


def _axis(traces: FrontTraces, axis: str, name: str) -> dict[str, Any]:
    metric, options = METRICS[name], traces.style
    log, flip = axis in options.log, axis in options.flip
    style: dict[str, Any] = {
        "type": "log" if log else "linear",
        "title": {"text": metric.label + (" (log scale)" if log else "")},
        "autorange": "reversed" if flip else True,
    }
    values = [
        float(value)
        for trace in traces.figure.data
        for value in (trace[axis] if trace[axis] is not None else ())
        if value is not None and value > 0
    ]
    if log and metric.count and values:
        ticks = log_ticks(min(values), max(values))
        style |= {"tickvals": ticks, "ticktext": [short_macs(tick) for tick in ticks]}
    return style


def _title(data: FrontData) -> str:
    x, *rest = data.metrics
    if data.unmeasured:
        names = " or ".join(METRICS[name].short for name in data.unmeasured)
        return f"No network has a measured {names} yet"
    if rest == ["top1"] and not MAXIMISED[x]:
        return front_headline(data.networks, cost=x)
    if data.networks.empty:
        return "No network is measured at full fidelity yet"
    count = int(data.networks["on_front"].sum())
    return f"{count} of {len(data.networks)} networks are on the front"
