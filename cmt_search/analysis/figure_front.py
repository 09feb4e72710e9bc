"""The front on any metrics: networks by category, with rules and published backbones over it."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from cmt_search.analysis.figure_style import (
    BLACK,
    BLUE,
    GREY,
    ORANGE,
    PURPLE,
    RULE_COLOURS,
    SKY,
    VERMILLION,
    log_ticks,
    rule_looks,
    short_macs,
    styled,
)
from cmt_search.analysis.front import MAXIMISED, Front
from cmt_search.analysis.front_values import (
    FrontData,
    cost_shown,
    front_data,
    published,
    standard_error,
)
from cmt_search.analysis.metrics import METRICS, shown
from cmt_search.analysis.wording import percent, points

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

CATEGORIES = {  # what may be switched off, and its name on the switch
    "dominated": "dominated",
    "stopped": "stopped",
    "failed": "failed",
    "rules": "named rules",
    "discovered": "discovered rule",
    "band": "noise band",
}
OVERLAYS = {"published": "CMT, published", "baselines": "other backbones, published"}
MANY = 10_000  # points from which on a browser draws on its graphics card
_PLACE = ["name", "trial", "resolution", "depths", "widths"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontLook:
    """How the front is drawn."""

    log: Collection[str] = ("x",)  # of x, y, z
    flip: Collection[str] = ()  # of x, y, z
    hide: Collection[str] = ()  # of CATEGORIES
    bars: bool = False  # standard errors of the networks' means
    overlays: Collection[str] = ()  # of OVERLAYS
    others: Mapping[str, Front] = field(default_factory=dict)  # fronts of other runs, by name
    selected: Collection[int] | None = None  # trials; the others fade


def draw_front(data: FrontData, look: FrontLook | None = None) -> go.Figure:
    """Draw the front figure."""
    look = look or FrontLook()
    pen = _Pen(figure=go.Figure(), data=data, look=look)
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
    if len(data.metrics) == 2:
        _add_staircase(pen, on_front)
    pen.networks(on_front, name=f"on the front ({len(on_front)})", colour=BLUE, size=10)
    if "rules" not in look.hide:
        _add_rules(pen)
    if "discovered" not in look.hide:
        _add_discovered(pen)
    _add_failed(pen)
    _add_others(pen)
    for overlay in OVERLAYS:
        if overlay in look.overlays:
            _add_published(pen, overlay)
    _style_axes(pen)
    styled(pen.figure, title=_title(data), subtitle=data.hypervolume)
    if len(data.metrics) == 3:
        pen.figure.update_layout(height=680, margin={"l": 10, "r": 10, "b": 10})
    return pen.figure


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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pen:
    """Adds points to a figure, flat or in space."""

    figure: go.Figure
    data: FrontData
    look: FrontLook

    def points(self, table: pd.DataFrame, **style: Any) -> None:
        """Points of a table that has the metrics, where it has all of them."""
        names = self.data.metrics
        # `first` of a group may leave object columns, which hold None rather than NaN.
        table = table[table[list(names)].notna().all(axis=1)]
        places = {
            axis: shown(table, name).tolist() for axis, name in zip("xyz", names, strict=False)
        }
        faded: dict[str, Any] = {}
        if self.look.selected is not None and "trial" in table:
            chosen = set(self.look.selected)
            picked = [i for i, trial in enumerate(table["trial"]) if trial in chosen]
            if len(names) == 2:
                faded = {"selectedpoints": picked, "unselected": {"marker": {"opacity": 0.12}}}
        kind = go.Scatter3d if len(names) == 3 else go.Scatter
        if kind is go.Scatter and len(table) > MANY:
            kind = go.Scattergl
        self.figure.add_trace(kind(**places, mode=style.pop("mode", "markers"), **style, **faded))

    def networks(
        self, table: pd.DataFrame, *, name: str, colour: str, size: int, symbol: str = "circle"
    ) -> None:
        """Measured networks, each with its trial."""
        table = table[table[list(self.data.metrics)].notna().all(axis=1)]
        flat = len(self.data.metrics) == 2
        many = len(table) > MANY
        marker: dict[str, Any] = {
            "color": colour,
            "size": (size if flat else size / 2) - (2 if many else 0),
            "line": {"color": "white", "width": 0 if many else 1},
            "opacity": 0.6 if many else 1.0,
            "symbol": symbol if flat or symbol != "triangle-down" else "diamond",
        }
        if symbol.endswith("open"):
            marker["line"] = {"color": colour, "width": 1.5}
        self.points(
            table,
            name=name,
            marker=marker,
            customdata=table[_PLACE].astype(object).to_numpy().tolist(),
            hovertemplate=_hover(self.data.metrics),
            **self._bars(table),
        )

    def _bars(self, table: pd.DataFrame) -> dict[str, Any]:
        """Standard errors of the means, where seeds were repeated."""
        if not self.look.bars or "measurements" not in table or len(self.data.metrics) == 3:
            return {}
        bars = {}
        for axis, name in zip("xy", self.data.metrics, strict=False):
            if METRICS[name].spreads and name in self.data.noise:
                error = METRICS[name].scale * standard_error(table, sd=self.data.noise[name])
                style = {"thickness": 1, "width": 2, "color": "rgba(82, 96, 109, 0.6)"}
                bars[f"error_{axis}"] = {"array": error.tolist(), **style}
        return bars


def _hover(metrics: tuple[str, ...]) -> str:
    values = ", ".join(
        f"%{{{axis}:.4~s}} {METRICS[name].short}"
        if METRICS[name].count
        else f"{METRICS[name].label.split(',')[0]}: %{{{axis}:.4~g}}"
        for axis, name in zip("xyz", metrics, strict=False)
    )
    sizes = "<br>%{customdata[2]} px, depths %{customdata[3]}, widths %{customdata[4]}"
    return f"%{{customdata[0]}} (trial %{{customdata[1]}})<br>{values}{sizes}<extra></extra>"


def _add_staircase(pen: _Pen, on_front: pd.DataFrame) -> None:
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


def _add_noise_band(pen: _Pen, on_front: pd.DataFrame) -> None:
    data, sd = pen.data, pen.data.noise_sd
    if sd is None or len(on_front) < 2 or len(data.metrics) == 3 or "band" in pen.look.hide:
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


def _add_rules(pen: _Pen) -> None:
    rules, flat = pen.data.rules, len(pen.data.metrics) == 2
    looks = rule_looks(list(dict.fromkeys(rules["name"])))
    for name, (colour, symbol) in looks.items():
        rule = rules[rules["name"] == name]
        pen.points(
            rule,
            mode="lines+markers" if flat else "markers",
            name=name,
            line={"color": colour, "width": 1.5, "dash": "dot"} if flat else None,
            marker={"color": colour, "symbol": symbol, "size": 9}
            if flat
            else {"color": colour, "symbol": "square", "size": 5},
            customdata=[[int(trial)] for trial in rule["trial"]],
            hovertemplate=f"{name}<br>%{{y:.4~g}} at %{{x:.4~s}}<extra></extra>",
        )


def _add_discovered(pen: _Pen) -> None:
    best = pen.data.best
    if best.empty or pen.data.metrics != ("macs", "top1"):
        return
    values = 100 * best
    pen.figure.add_scatter(
        x=best["macs"],
        y=values["top1"],
        error_y={
            "array": values["high"] - values["top1"],
            "arrayminus": values["top1"] - values["low"],
            "color": BLACK,
            "thickness": 1.2,
        },
        mode="markers",
        name="discovered rule, predicted (95%)",
        marker={"color": BLACK, "symbol": "star", "size": 12},
        hovertemplate="discovered rule, predicted<br>%{y:.2f}% at %{x:.4s} MACs<extra></extra>",
    )


def _add_failed(pen: _Pen) -> None:
    data = pen.data
    if "failed" in pen.look.hide:
        return
    if len(data.failed) and len(data.metrics) == 2:
        x, y = data.metrics
        table = data.failed.assign(
            **{name: _edge(data, name) for name in (x, y) if data.failed[name].isna().all()}
        )
        pen.points(
            table,
            name=f"failed ({len(data.failed)}), no accuracy",
            marker={"color": BLACK, "symbol": "x-thin", "size": 9, "line": {"width": 2}},
            customdata=table[["trial", "name", "reason"]].astype(object).to_numpy().tolist(),
            hovertemplate=(
                "trial %{customdata[0]} %{customdata[1]}: %{customdata[2]}<extra></extra>"
            ),
        )
    if data.infeasible and len(data.metrics) == 2:
        pen.figure.add_scatter(
            x=[None],
            y=[None],
            mode="markers",
            name=f"infeasible ({data.infeasible}), no network",
            marker={"color": BLACK, "symbol": "asterisk", "size": 9, "line": {"width": 2}},
        )


def _edge(data: FrontData, metric: str) -> float:
    """Just beyond the worst value: where stands what was never measured."""
    if data.networks.empty:
        return 0.0
    values = data.networks[metric].astype(float)
    step = 0.01 if metric == "top1" else 0.03 * float(values.max() - values.min())
    return float(values.min() - step if MAXIMISED[metric] else values.max() + step)


def _add_others(pen: _Pen) -> None:
    """The fronts of other runs, each in a colour and with a symbol of its own."""
    symbols = ("square", "diamond", "cross", "pentagon", "hexagram")
    for i, (name, front) in enumerate(pen.look.others.items()):
        colour = (VERMILLION, PURPLE, *RULE_COLOURS)[i % 9]
        table = front.members.sort_values(pen.data.metrics[0])
        flat = len(pen.data.metrics) == 2
        for part, size, label in (
            (front.networks[~front.networks["on_front"]], 5, f"{name}: dominated"),
            (table, 10, f"{name}: front"),
        ):
            faint = part is not table
            if faint and "dominated" in pen.look.hide:
                continue
            pen.points(
                part.drop(columns="trial"),  # its trials are another run's
                mode="markers" if faint or not flat else "lines+markers",
                name=f"{label} ({len(part)})",
                opacity=0.35 if faint else 1.0,
                line={"color": colour, "width": 2, "shape": "hv", "dash": "dash"}
                if flat and not faint
                else None,
                marker={
                    "color": colour,
                    "size": size if flat else size / 2,
                    "symbol": symbols[i % 5] if flat else "square",
                },
                text=part["name"],
                hovertemplate=f"{name}: %{{text}}<br>%{{y:.4~g}} at %{{x:.4~s}}<extra></extra>",
            )


def _add_published(pen: _Pen, overlay: str) -> None:
    """Published backbones; hollow, because nothing of them was measured here."""
    if not set(pen.data.metrics) <= {"macs", "params", "top1"}:
        return
    table = published(own=overlay == "published")
    table = table[table[list(pen.data.metrics)].notna().all(axis=1)].sort_values(
        ["family", pen.data.metrics[0]]
    )
    own, flat = overlay == "published", len(pen.data.metrics) == 2
    pen.points(
        table,
        mode="lines+markers+text" if own and flat else "markers",
        name=f"{OVERLAYS[overlay]} ({len(table)}, ImageNet-1k)",
        line={"color": VERMILLION, "width": 1.2, "dash": "dashdot"} if own and flat else None,
        marker={
            "color": VERMILLION if own else "#5D3A9B",
            "symbol": "star-diamond-open" if flat and own else "square-open",
            "size": (11 if own else 6) if flat else 4,
        },
        text=table["variant"] if own else None,
        textposition="bottom right" if own else None,
        customdata=table[["family", "variant", "resolution", "note", "source"]].to_numpy().tolist(),
        hovertemplate=(
            "%{customdata[0]} %{customdata[1]}, %{customdata[2]:.0f} px<br>"
            "%{y:.4~g} at %{x:.4~s}<br>%{customdata[3]}<br><i>%{customdata[4]}</i><extra></extra>"
        ),
    )


def _style_axes(pen: _Pen) -> None:
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


def _axis(pen: _Pen, axis: str, name: str) -> dict[str, Any]:
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
    if rest == ["top1"] and not MAXIMISED[x]:
        return front_finding(data.networks, cost=x)
    if data.networks.empty:
        return "No network is measured at full fidelity yet"
    count = int(data.networks["on_front"].sum())
    return f"{count} of {len(data.networks)} networks stand on the front"
