"""The front: accuracy against MACs, with the rules laid over it."""

from dataclasses import dataclass

import pandas as pd
import plotly.graph_objects as go

from cmt_search.analysis.figure_style import (
    BLACK,
    BLUE,
    GREY,
    log_ticks,
    rule_looks,
    short_macs,
    styled,
)
from cmt_search.analysis.front import Front
from cmt_search.analysis.study import Analysis
from cmt_search.analysis.wording import macs_text, percent, points


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FrontData:
    """What the front figure shows; accuracies in 0..1."""

    networks: pd.DataFrame  # full fidelity, seeds averaged; `on_front` tells the front
    failed: pd.DataFrame  # trial, name, `cost`, reason
    rules: pd.DataFrame  # name, macs, top1: named rules as measured
    best: pd.DataFrame  # macs, top1, low, high: the discovered rule as predicted; may be empty
    noise_sd: float | None
    hypervolume: str
    cost: str = "macs"  # what accuracy is drawn against: the other metric of the front


_COSTS = {  # label of the axis, and a value in words
    "macs": ("MACs per image", macs_text),
    "params": ("parameters", lambda value: f"{short_macs(value)} parameters"),
    "activations": ("activations per image", lambda value: f"{short_macs(value)} activations"),
    "latency_ms": ("latency in ms, as measured", lambda value: f"{value:.3g} ms"),
    "memory_mib": ("memory of a pass in MiB, as measured", lambda value: f"{value:.3g} MiB"),
    "seconds": ("seconds of training", lambda value: f"{value:.3g} s of training"),
}


def front_data(analysis: Analysis) -> FrontData:
    """Compute the front figure."""
    frame, front = analysis.frame, analysis.front
    cost = cost_shown(front)
    lost = frame[(frame["state"] == "failed") & frame["top1"].isna() & frame[cost].notna()]
    named = frame[
        frame["name"].isin(list(analysis.named))
        & frame["full_fidelity"].fillna(False)
        & frame["top1"].notna()
    ]
    means = named.groupby(["name", "key"], sort=False)[["macs", "top1"]].mean().reset_index()
    reference = ", ".join(
        percent(value) if name == "top1" else f"{short_macs(value)} {name.replace('macs', 'MACs')}"
        for name, value in zip(front.metrics, front.reference, strict=True)
    )
    return FrontData(
        networks=front.networks,
        failed=lost[["trial", "name", cost, "reason"]],
        rules=means.sort_values(["name", "macs"], ignore_index=True),
        best=_predicted_best(analysis),
        noise_sd=analysis.noise.sd if analysis.noise else None,
        hypervolume=f"hypervolume {front.hypervolume:.4g} (reference point: {reference})",
        cost=cost,
    )


def cost_shown(front: Front) -> str:
    """What accuracy is drawn against: the front's other metric, or MACs where it has more."""
    return front.metrics[0] if front.metrics[1:] == ("top1",) else "macs"


def draw_front(data: FrontData) -> go.Figure:
    """Draw the front figure."""
    figure, cost = go.Figure(), data.cost
    on_front = data.networks[data.networks["on_front"]].sort_values(cost)
    dominated = data.networks[~data.networks["on_front"]]
    _add_noise_band(figure, on_front=on_front, sd=data.noise_sd, cost=cost)
    _add_networks(figure, dominated, name="dominated", colour=GREY, size=7, cost=cost)
    figure.add_scatter(
        x=on_front[cost],
        y=100 * on_front["top1"],
        mode="lines",
        line={"color": BLUE, "width": 2, "shape": "hv"},
        showlegend=False,
        hoverinfo="skip",
    )
    _add_networks(figure, on_front, name="on the front", colour=BLUE, size=10, cost=cost)
    if cost == "macs":
        _add_rules(figure, data)
    _add_failed(figure, data)
    costs = [*data.networks[cost].astype(float), *data.failed[cost].astype(float)]
    ticks = log_ticks(min(costs), max(costs)) if costs else []
    figure.update_xaxes(
        type="log",
        title=f"{_COSTS[cost][0]} (log scale)",
        tickvals=ticks,
        ticktext=[short_macs(tick) for tick in ticks],
    )
    figure.update_yaxes(title="top-1 accuracy (%)")
    return styled(figure, title=front_finding(data.networks, cost=cost), subtitle=data.hypervolume)


def front_finding(networks: pd.DataFrame, *, cost: str = "macs") -> str:
    """What the front says, in a sentence."""
    front, text = networks[networks["on_front"]].sort_values(cost), _COSTS[cost][1]
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


def _add_networks(
    figure: go.Figure, table: pd.DataFrame, *, name: str, colour: str, size: int, cost: str
) -> None:
    figure.add_scatter(
        x=table[cost],
        y=100 * table["top1"],
        mode="markers",
        name=f"{name} ({len(table)})",
        marker={"color": colour, "size": size, "line": {"color": "white", "width": 1}},
        customdata=table[["name", "trial", "resolution", "depths", "widths", "measurements"]],
        hovertemplate=(
            "%{customdata[0]} (trial %{customdata[1]})<br>%{y:.2f}% at %{x:.4s} "
            f"{_COSTS[cost][0].removesuffix(' per image')}, "
            "%{customdata[5]} seeds<br>%{customdata[2]} px, depths %{customdata[3]}, "
            "widths %{customdata[4]}<extra></extra>"
        ),
    )


def _add_noise_band(
    figure: go.Figure, *, on_front: pd.DataFrame, sd: float | None, cost: str
) -> None:
    if sd is None or len(on_front) < 2:
        return
    for sign in (1, -1):
        figure.add_scatter(
            x=on_front[cost],
            y=100 * (on_front["top1"] + sign * sd),
            mode="lines",
            line={"width": 0, "shape": "hv"},
            fill=None if sign > 0 else "tonexty",
            fillcolor="rgba(0, 114, 178, 0.13)",
            name=f"±1 seed SD ({points(sd)} points)",
            showlegend=sign < 0,
            hoverinfo="skip",
        )


def _add_rules(figure: go.Figure, data: FrontData) -> None:
    looks = rule_looks(list(dict.fromkeys(data.rules["name"])))
    for name, (colour, symbol) in looks.items():
        rule = data.rules[data.rules["name"] == name]
        figure.add_scatter(
            x=rule["macs"],
            y=100 * rule["top1"],
            mode="lines+markers",
            name=name,
            line={"color": colour, "width": 1.5, "dash": "dot"},
            marker={"color": colour, "symbol": symbol, "size": 9},
            hovertemplate=f"{name}<br>%{{y:.2f}}% at %{{x:.4s}} MACs<extra></extra>",
        )
    if data.best.empty:
        return
    best = 100 * data.best
    figure.add_scatter(
        x=data.best["macs"],
        y=best["top1"],
        error_y={
            "array": best["high"] - best["top1"],
            "arrayminus": best["top1"] - best["low"],
            "color": BLACK,
            "thickness": 1.2,
        },
        mode="markers",
        name="discovered rule, predicted (95%)",
        marker={"color": BLACK, "symbol": "star", "size": 12},
        hovertemplate="discovered rule, predicted<br>%{y:.2f}% at %{x:.4s} MACs<extra></extra>",
    )


def _add_failed(figure: go.Figure, data: FrontData) -> None:
    if data.failed.empty:
        return
    floor = 100 * float(data.networks["top1"].min()) - 1 if len(data.networks) else 0.0
    figure.add_scatter(
        x=data.failed[data.cost],
        y=[floor] * len(data.failed),
        mode="markers",
        name=f"failed ({len(data.failed)}), no accuracy",
        marker={"color": BLACK, "symbol": "x-thin", "size": 9, "line": {"width": 2}},
        customdata=data.failed[["trial", "name", "reason"]],
        hovertemplate="trial %{customdata[0]} %{customdata[1]}: %{customdata[2]}<extra></extra>",
    )


def _predicted_best(analysis: Analysis) -> pd.DataFrame:
    columns = ["macs", "top1", "low", "high"]
    surface, verdict = analysis.surface, analysis.verdict
    if surface is None or verdict is None:
        return pd.DataFrame(columns=columns, dtype=float)
    rows = []
    for budget, growth in zip(surface.budgets, surface.growths, strict=True):
        draws = surface.draws(verdict.best.values, growth=float(growth))[:, 0]
        low, high = pd.Series(draws).quantile([0.025, 0.975])
        rows.append((float(budget), float(draws.mean()), float(low), float(high)))
    return pd.DataFrame(rows, columns=columns)
