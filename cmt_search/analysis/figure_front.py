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
from cmt_search.analysis.front_pen import CATEGORIES, OVERLAYS, FrontLook, Pen
from cmt_search.analysis.front_values import FrontData, cost_shown, front_data
from cmt_search.analysis.metrics import METRICS, shown
from cmt_search.format import percent, points

__all__ = [
    "CATEGORIES",
    "OVERLAYS",
    "FrontData",
    "FrontLook",
    "cost_shown",
    "draw_front",
    "front_data",
    "front_finding",
]


def draw_front(data: FrontData, look: FrontLook | None = None) -> go.Figure:
    """Draw the front figure."""
    look = look or FrontLook()
    pen = Pen(figure=go.Figure(), data=data, look=look)
    order = data.metrics[0]
    on_front = data.networks[data.networks["on_front"]].sort_values(order)
    dominated = data.networks[~data.networks["on_front"]]
    _add_noise_band(pen, on_front)
    for kind, label, colour, symbol in (
        ("running", "in training", SKY, "circle-open"),
        ("interrupted", "interrupted", SKY, "square-open"),
        ("pruned", "stopped early", ORANGE, "triangle-down"),
    ):
        rows = data.unfinished[data.unfinished["state"] == kind]
        if "stopped" not in look.hide and len(rows):
            pen.networks(rows, name=f"{label} ({len(rows)})", colour=colour, size=7, symbol=symbol)
    if "dominated" not in look.hide:
        pen.networks(dominated, name=f"dominated ({len(dominated)})", colour=GREY, size=7)
    if pen.flat:
        _add_staircase(pen, on_front)
    pen.networks(on_front, name=f"on the front ({len(on_front)})", colour=BLUE, size=10)
    if "rules" not in look.hide:
        add_rules(pen)
    if "discovered" not in look.hide:
        add_discovered(pen)
    if "failed" not in look.hide:
        _add_failed(pen)
    if "infeasible" not in look.hide:
        _add_infeasible(pen)
    add_others(pen)
    for overlay in OVERLAYS:
        if overlay in look.overlays:
            add_published(pen, overlay)
    _style_axes(pen)
    lines = [line for line in (data.hypervolume, not_drawn(pen)) if line]
    styled(pen.figure, title=_title(data), subtitle="<br>".join(lines))
    if not pen.flat:
        pen.figure.update_layout(height=680, margin={"l": 10, "r": 10, "b": 10})
    return without_empty_axes(pen.figure)


def front_finding(networks: pd.DataFrame, *, cost: str = "macs") -> str:
    """What the front of accuracy against a cost says, in a sentence."""
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


def _add_staircase(pen: Pen, on_front: pd.DataFrame) -> None:
    x, y = pen.data.metrics
    pen.figure.add_scatter(
        x=shown(on_front, x),
        y=shown(on_front, y),
        mode="lines",
        # What stays reachable between two networks of the front is the better-known one.
        line={"color": BLUE, "width": 2, "shape": "vh" if MAXIMISED[x] else "hv"},
        showlegend=False,
        hoverinfo="skip",
    )


def _add_noise_band(pen: Pen, on_front: pd.DataFrame) -> None:
    data, sd = pen.data, pen.data.noise_sd
    if sd is None or len(on_front) < 2 or not pen.flat or "band" in pen.look.hide:
        return
    x, y = data.metrics
    spread = f"{points(sd)} points" if y == "top1" else f"{sd:.2g} nats"
    for sign in (1, -1):
        pen.figure.add_scatter(
            x=shown(on_front, x),
            y=shown(on_front, y) + METRICS[y].scale * sign * sd,
            mode="lines",
            line={"width": 0, "shape": "vh" if MAXIMISED[x] else "hv"},
            fill=None if sign > 0 else "tonexty",
            fillcolor="rgba(0, 114, 178, 0.13)",
            name=f"±1 seed SD ({spread})",
            showlegend=sign < 0,
            hoverinfo="skip",
        )


def _add_failed(pen: Pen) -> None:
    data, failed = pen.data, pen.data.failed
    if failed.empty:
        return
    places = {name: failed[name].astype(float).fillna(_edge(data, name)) for name in data.metrics}
    pen.points(
        failed.assign(**places),
        told=("name", "reason"),
        name=f"failed ({len(failed)}), no accuracy",
        marker=_cross(pen, flat="x-thin", deep="x"),
        hovertemplate="%{customdata[2]} %{customdata[0]}: %{customdata[1]}<extra></extra>",
    )


def _add_infeasible(pen: Pen) -> None:
    """A word in the legend: there is no network that could have a place."""
    if not pen.data.infeasible:
        return
    trace = {
        **{axis: [None] for axis in ("xy" if pen.flat else "xyz")},
        "type": "scatter" if pen.flat else "scatter3d",
        "mode": "markers",
        "name": f"infeasible ({pen.data.infeasible}), no network",
        "marker": _cross(pen, flat="asterisk", deep="cross"),
    }
    pen.figure.add_trace(trace)


def _cross(pen: Pen, *, flat: str, deep: str) -> dict[str, Any]:
    """A mark for what was not measured; in space plotly has only filled ones."""
    if pen.flat:
        return {"color": BLACK, "symbol": flat, "size": 9, "line": {"width": 2, "color": BLACK}}
    return {"color": BLACK, "symbol": deep, "size": 3}


def _edge(data: FrontData, metric: str) -> float:
    """Just beyond the worst value: where stands what was never measured."""
    values = pd.concat([data.networks[metric], data.unfinished[metric]]).astype(float).dropna()
    if values.empty:
        return 0.0
    step = 0.01 if metric == "top1" else 0.03 * float(values.max() - values.min())
    return float(values.min() - step if MAXIMISED[metric] else values.max() + step)


def _style_axes(pen: Pen) -> None:
    axes = {
        axis: _axis(pen, axis, name) for axis, name in zip("xyz", pen.data.metrics, strict=False)
    }
    if len(axes) == 3:
        for axis in axes.values():
            axis["title"]["font"] = {"size": 12}
        scene = {f"{axis}axis": style for axis, style in axes.items()}
        camera = {"eye": {"x": 1.7, "y": 1.7, "z": 0.8}, "center": {"z": -0.15}}
        pen.figure.update_layout(scene={**scene, "camera": camera})
        return
    pen.figure.update_xaxes(**axes["x"])
    pen.figure.update_yaxes(**axes["y"])


def _axis(pen: Pen, axis: str, name: str) -> dict[str, Any]:
    metric, look = METRICS[name], pen.look
    log, flip = axis in look.log, axis in look.flip
    style: dict[str, Any] = {
        "type": "log" if log else "linear",
        "title": {"text": metric.label + (" (log scale)" if log else "")},
        "autorange": "reversed" if flip else True,
    }
    values = [
        float(value)
        for trace in pen.figure.data
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
        return front_finding(data.networks, cost=x)
    if data.networks.empty:
        return "No network is measured at full fidelity yet"
    count = int(data.networks["on_front"].sum())
    return f"{count} of {len(data.networks)} networks stand on the front"
