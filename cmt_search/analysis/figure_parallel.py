"""Parallel coordinates: a line per trial through what was asked for, its cost and its accuracy."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from cmt_search.analysis.figure_style import log_ticks, short_macs, styled, without_empty_axes
from cmt_search.analysis.frame import SHARE_COLUMNS, trials_frame
from cmt_search.analysis.metrics import METRICS, available_metrics
from cmt_search.analysis.study import Analysis
from cmt_search.format import counted

Interval = tuple[float, float]
Ranges = Mapping[str, Sequence[Interval]]  # allowed intervals by axis, as the axis shows them
_LEFT_OUT = ("activations", "seconds")  # follow MACs closely, and crowd the figure
_MOST = 600  # lines that a browser without a graphics card draws in a second
_CHANGE = re.compile(r"dimensions\[(\d+)\]\.constraintrange")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ParallelData:
    """Data of the parallel coordinates: `table` has `trial` and a column per axis, none empty."""

    table: pd.DataFrame  # as shown: accuracies in per cent, large numbers as log10
    axes: tuple[str, ...]
    logs: tuple[str, ...]  # of the axes
    colour: str  # the axis that colours the lines
    left_out: int  # trials without all the numbers


def parallel_data(
    analysis: Analysis, *, trials: Collection[int] | None = None, colour: str = "top1"
) -> ParallelData:
    """Compute the parallel coordinates of these trials, or of all."""
    table = trials_frame(analysis.records)
    if table.empty:
        return ParallelData(
            table=pd.DataFrame(columns=["trial"]), axes=(), logs=(), colour=colour, left_out=0
        )
    measured = table[table["top1"].notna()]
    asked = [str(name) for name in table if str(name).endswith(" (asked)")]
    asked = [name for name in SHARE_COLUMNS if name in table] or asked
    metrics = [name for name in available_metrics(measured) if name not in _LEFT_OUT]
    axes = [*asked, *metrics]
    kept = measured.dropna(subset=axes)
    values = pd.DataFrame({"trial": kept["trial"].astype(int)})
    logs = [name for name in metrics if METRICS[name].count]
    for name in axes:
        scale = METRICS[name].scale if name in METRICS else 1
        column = scale * kept[name].astype(float)
        values[name] = np.log10(column) if name in logs else column
    left_out = len(table) - len(kept)
    if trials is not None:
        values = values[values["trial"].isin(list(trials))]
    return ParallelData(
        table=values.reset_index(drop=True),
        axes=tuple(str(name) for name in axes),
        logs=tuple(logs),
        colour=colour if colour in axes else "",
        left_out=left_out,
    )


def draw_parallel(data: ParallelData, *, ranges: Ranges | None = None) -> go.Figure:
    """Draw the parallel coordinates; `ranges` are brushed already.

    Of many trials some are drawn, from the worst to the best; the axes span all of them.
    """
    figure = go.Figure()
    drawn = _thinned(data)
    if data.axes and len(data.table):
        coloured = data.colour or data.axes[-1]
        figure.add_parcoords(
            dimensions=[
                _dimension(data, drawn[name], (ranges or {}).get(name)) for name in data.axes
            ],
            line={
                "color": drawn[coloured].to_numpy(),
                "cmin": float(data.table[coloured].min()),
                "cmax": float(data.table[coloured].max()),
                "colorscale": "Viridis",
                "showscale": True,
                "colorbar": {"title": {"text": _label(coloured)}, "thickness": 14},
            },
            unselected={"line": {"color": "#9AA5B1", "opacity": 0.12}},
            labelfont={"size": 12},
            tickfont={"size": 11},
        )
    missing = f"; {data.left_out} without a measurement are left out" if data.left_out else ""
    brush = "Drag along an axis to brush it"
    if len(drawn) < len(data.table):
        brush += f"; {len(drawn)} lines are drawn, a brush selects among all trials"
    told = brush + missing if len(drawn) else ""
    styled(figure, title=_title(data), subtitle=told, height=440)
    figure.update_layout(margin={"l": 60, "r": 60, "t": 115, "b": 30})
    return without_empty_axes(figure)


def brushed(ranges: Ranges, change: Mapping[str, Any], *, axes: Sequence[str]) -> dict[str, Any]:
    """The ranges after a change as plotly tells it: an interval, several, or none on an axis."""
    found = {name: list(parts) for name, parts in ranges.items()}
    for key, value in change.items():
        match = _CHANGE.fullmatch(key)
        if match is None:
            continue
        name = axes[int(match[1])]
        found.pop(name, None)
        while value and isinstance(value[0], list) and isinstance(value[0][0], list):
            value = value[0]
        if value:
            found[name] = (
                [tuple(v) for v in value] if isinstance(value[0], list) else [tuple(value)]
            )
    return found


def inside(data: ParallelData, ranges: Ranges) -> list[int]:
    """The trials that pass through all ranges."""
    keep = np.ones(len(data.table), dtype=bool)
    for name, parts in ranges.items():
        column = data.table[name].to_numpy(dtype=float)
        keep &= np.any([(low <= column) & (column <= high) for low, high in parts], axis=0)
    return [int(trial) for trial in data.table.loc[keep, "trial"]]


def _thinned(data: ParallelData) -> pd.DataFrame:
    """The trials whose lines are drawn: as many from every part of the order by colour."""
    if len(data.table) <= _MOST:
        return data.table
    order = data.table.sort_values(data.colour or data.axes[-1], kind="stable")
    return order.iloc[np.linspace(0, len(order) - 1, _MOST).round().astype(int)]


def _title(data: ParallelData) -> str:
    if data.table.empty:
        return "No trial is measured yet"
    each = ", a line each" if len(data.table) <= _MOST else ""
    return counted(len(data.table), "trial") + each


def _dimension(
    data: ParallelData, drawn: "pd.Series[float]", parts: Sequence[Interval] | None
) -> dict[str, Any]:
    name = str(drawn.name)
    low, high = float(data.table[name].min()), float(data.table[name].max())
    dimension: dict[str, Any] = {"label": _label(name), "values": drawn.to_numpy()}
    if low < high:
        dimension["range"] = [low, high]
    if name in data.logs:
        ticks = _ticks(low, high)
        dimension |= {
            "tickvals": [float(np.log10(tick)) for tick in ticks],
            "ticktext": [short_macs(tick) for tick in ticks],
        }
    if parts:
        dimension["constraintrange"] = (
            [list(part) for part in parts] if len(parts) > 1 else list(parts[0])
        )
    return dimension


def _ticks(low: float, high: float) -> list[float]:
    """Round ticks between two powers of ten; the ends if there are hardly any."""
    ticks = [t for t in log_ticks(10**low, 10**high) if low <= np.log10(t) <= high]
    if len(ticks) >= 3:
        return ticks
    return [10.0**power for power in dict.fromkeys(np.linspace(low, high, 4).tolist())]


def _label(name: str) -> str:
    if name not in METRICS:
        return name.removesuffix(" (asked)").replace("_", " ")
    return METRICS[name].short + (" (%)" if METRICS[name].scale == 100 else "")
