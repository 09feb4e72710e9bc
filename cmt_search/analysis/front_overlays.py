"""Overlays of a front: rules, the discovered rule, other runs, published backbones."""

from collections.abc import Iterator
from html import escape

from cmt_search.analysis.figure_style import (
    BLACK,
    PURPLE,
    RULE_COLOURS,
    VERMILLION,
    rule_looks,
)
from cmt_search.analysis.front_traces import OVERLAYS, FrontTraces
from cmt_search.analysis.front_values import published
from cmt_search.analysis.metrics import METRICS

_PREDICTED = ("macs", "top1")  # metrics of the discovered rule
_PUBLISHED = {"macs", "params", "top1"}  # metrics of the published backbones
_PLACE = "%{y:.4~g} at %{x:.4~s}<extra></extra>"


def add_rules(traces: FrontTraces) -> None:
    """The named rules, a line each from budget to budget."""
    rules, flat = traces.data.rules, traces.flat
    looks = rule_looks(list(dict.fromkeys(rules["name"])))
    for name, (colour, symbol) in looks.items():
        rule = rules[rules["name"] == name]
        traces.points(
            rule,
            mode="lines+markers" if flat else "markers",
            name=name,
            line={"color": colour, "width": 1.5, "dash": "dot"} if flat else None,
            marker={"color": colour, "symbol": symbol, "size": 9}
            if flat
            else {"color": colour, "symbol": "square", "size": 5},
            hovertemplate=f"{name} (%{{customdata[0]}})<br>{_PLACE}",
        )


def add_discovered(traces: FrontTraces) -> None:
    """Add the predicted accuracy of the best rule, with its interval."""
    best = traces.data.best
    if best.empty or traces.data.metrics != _PREDICTED:
        return
    values = 100 * best
    traces.figure.add_scatter(
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


def add_others(traces: FrontTraces) -> None:
    """The fronts of other runs, each in a colour and with a symbol of its own."""
    symbols = ("square", "diamond", "cross", "pentagon", "hexagram")
    for i, (name, front) in enumerate(traces.style.others.items()):
        colour = (VERMILLION, PURPLE, *RULE_COLOURS)[i % 9]
        table = front.members.sort_values(traces.data.metrics[0])
        flat = traces.flat
        for part, size, label in (
            (front.networks[~front.networks["on_front"]], 5, f"{name}: dominated"),
            (table, 10, f"{name}: front"),
        ):
            faint = part is not table
            if faint and "dominated" in traces.style.hide:
                continue
            traces.points(
                part,
                text="name",
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
                hovertemplate=f"{name}: %{{text}}<br>{_PLACE}",
            )


def add_published(traces: FrontTraces, overlay: str) -> None:
    """Published backbones; hollow, because nothing of them was measured here."""
    if not set(traces.data.metrics) <= _PUBLISHED:
        return
    table = published(own=overlay == "published")
    table = table[table[list(traces.data.metrics)].notna().all(axis=1)].sort_values(
        ["family", traces.data.metrics[0]]
    )
    own, flat = overlay == "published", traces.flat
    traces.points(
        table,
        mode="lines+markers+text" if own and flat else "markers",
        name=f"{OVERLAYS[overlay]} ({len(table)}, ImageNet-1k)",
        line={"color": VERMILLION, "width": 1.2, "dash": "dashdot"} if own and flat else None,
        marker={
            "color": VERMILLION if own else "#5D3A9B",
            "symbol": "star-diamond-open" if flat and own else "square-open",
            "size": (11 if own else 6) if flat else 4,
        },
        text="variant" if own else None,
        textposition="top left" if own else None,
        hover_columns=("family", "variant", "resolution", "note", "source"),
        hovertemplate=(
            "%{customdata[0]} %{customdata[1]}, %{customdata[2]:.0f} px<br>"
            "%{y:.4~g} at %{x:.4~s}<br>%{customdata[3]}<br><i>%{customdata[4]}</i><extra></extra>"
        ),
    )


def not_drawn(traces: FrontTraces) -> str:
    """List requested items that these axes cannot show; empty if there are none."""
    reasons = "; ".join(_absent(traces))
    return f"Not drawn: {reasons}" if reasons else ""


def _absent(traces: FrontTraces) -> Iterator[str]:
    data, style = traces.data, traces.style
    if not traces.flat and data.noise_sd is not None and "band" not in style.hide:
        yield "noise band (only in 2-D)"
    if not traces.flat and data.noise and style.bars:
        yield "error bars (only in 2-D)"
    if len(data.best) and data.metrics != _PREDICTED and "discovered" not in style.hide:
        yield "discovered rule (only as top-1 against MACs)"
    unknown = [METRICS[name].short for name in data.metrics if name not in _PUBLISHED]
    for overlay in OVERLAYS:
        if overlay in style.overlays and unknown:
            yield f"{OVERLAYS[overlay]} (no {' or '.join(unknown)} known)"
    for name in style.missing:
        yield f"run {escape(name)} (it cannot be read)"
