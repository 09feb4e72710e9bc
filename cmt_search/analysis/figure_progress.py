"""How a search went: what it reached by when, who worked on what, and what failed."""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import moocore
import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from cmt_search.analysis.figure_style import (
    BLUE,
    GREEN,
    VERMILLION,
    ordered_colours,
    styled,
    without_empty_axes,
)
from cmt_search.analysis.frame import trial_state
from cmt_search.analysis.front import MAXIMISED
from cmt_search.analysis.study import Analysis
from cmt_search.format import counted, duration, macs_text

_STEPS = 250  # points of the hypervolume's curve at most
_REASONS = 12  # bars at most
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ProgressData:
    """Hypervolume and best accuracy against trials and device-hours."""

    volume: pd.DataFrame  # trials, hours, value: the normalised hypervolume, 0..1
    best: dict[str, pd.DataFrame]  # by budget, or "all": trials, hours, value (0..1)
    hours: float  # of training in all


def progress_data(analysis: Analysis) -> ProgressData:
    """Compute the progress; a network counts from the first trial that measured it."""
    seconds = np.cumsum([record.seconds for record in analysis.records])
    place = {record.number: i for i, record in enumerate(analysis.records)}
    table = analysis.front.networks.dropna(subset=["trial"])
    order = table["trial"].map(place)
    table = table.assign(trials=order + 1, hours=[seconds[i] / 3600 for i in order])
    table = table.sort_values("trials", ignore_index=True)
    groups = (
        {macs_text(float(budget)): rows for budget, rows in table.groupby("budget")}  # type: ignore[arg-type]
        if table["budget"].notna().any()
        else {"all": table}
    )
    return ProgressData(
        volume=_volumes(analysis, table),
        best={
            name: rows.assign(value=rows["top1"].cummax())[["trials", "hours", "value"]]
            for name, rows in groups.items()
        },
        hours=float(seconds[-1]) / 3600 if len(seconds) else 0.0,
    )


def draw_progress(data: ProgressData) -> go.Figure:
    """Draw hypervolume and best so far, against trials and device-hours."""
    figure = make_subplots(
        rows=2,
        cols=2,
        shared_yaxes=True,
        shared_xaxes=True,
        vertical_spacing=0.08,
        horizontal_spacing=0.04,
    )
    colours = ordered_colours(len(data.best)) if len(data.best) > 1 else [GREEN]
    for column, against in enumerate(("trials", "hours"), start=1):
        figure.add_scatter(
            x=data.volume[against],
            y=data.volume["value"],
            mode="lines",
            row=1,
            col=column,
            line={"color": BLUE, "width": 2, "shape": "hv"},
            name="hypervolume",
            showlegend=column == 1,
            legendgroup="hypervolume",
            hovertemplate="%{y:.3f}<extra>hypervolume</extra>",
        )
        for (name, rows), colour in zip(data.best.items(), colours, strict=True):
            label = "best so far" if name == "all" else f"best at {name}"
            figure.add_scatter(
                x=rows[against],
                y=100 * rows["value"],
                mode="lines",
                row=2,
                col=column,
                line={"color": colour, "width": 2, "shape": "hv"},
                name=label,
                showlegend=column == 1,
                legendgroup=label,
                hovertemplate=f"%{{y:.2f}}%<extra>{label}</extra>",
            )
    figure.update_xaxes(title="trials", row=2, col=1)
    figure.update_xaxes(title="device-hours of training", row=2, col=2)
    figure.update_yaxes(title="normalised hypervolume", row=1, col=1)
    figure.update_yaxes(title="best top-1 so far (%)", row=2, col=1)
    styled(
        figure,
        title=_progress_title(data),
        subtitle=f"{duration(3600 * data.hours)} of training; networks at full fidelity only",
        height=560,
    )
    return without_empty_axes(figure)


def failures_data(analysis: Analysis) -> Counter[str]:
    """Count failed trials by reason, without those that were infeasible.

    Reasons that differ only in numbers are one.
    """
    kinds: dict[str, str] = {}
    counts: Counter[str] = Counter()
    for record in analysis.records:
        if trial_state(record) == "failed":
            reason = (record.reason or "unknown").splitlines()[0]
            counts[kinds.setdefault(_NUMBER.sub("#", reason), reason)] += 1
    return counts


def draw_failures(counts: Mapping[str, int]) -> go.Figure:
    """Draw the failures by reason."""
    ranked = sorted(counts.items(), key=lambda item: item[1])[-_REASONS:]
    figure = go.Figure()
    figure.add_bar(
        x=[count for _, count in ranked],
        y=[_short(reason, place=i) for i, (reason, _) in enumerate(ranked)],
        orientation="h",
        marker={"color": VERMILLION},
        text=[count for _, count in ranked],
        insidetextfont={"color": "white"},
        hovertext=[reason for reason, _ in ranked],
        hovertemplate="%{hovertext}: %{x}<extra></extra>",
    )
    figure.update_xaxes(
        title="trials", rangemode="tozero", dtick=1 if max(counts.values(), default=0) < 8 else None
    )
    figure.update_yaxes(automargin=True)
    total = sum(counts.values())
    trials, reasons = counted(total, "trial"), counted(len(counts), "reason")
    title = f"{trials} failed, for {reasons}" if total else "No trial failed"
    left = total - sum(count for _, count in ranked)
    subtitle = (
        f"The {_REASONS} most frequent reasons; {counted(left, 'trial')} failed for others"
        if left
        else ""
    )
    return styled(figure, title=title, subtitle=subtitle, height=200 + 34 * max(len(ranked), 1))


def _volumes(analysis: Analysis, table: pd.DataFrame) -> pd.DataFrame:
    """Compute the normalised hypervolume after some of the trials, evenly spaced."""
    names = list(analysis.front.metrics)
    known = table.dropna(subset=names)
    maximise = [MAXIMISED[name] for name in names]
    after = np.unique(known["trials"].to_numpy(dtype=int))
    steps = (
        after[np.unique(np.linspace(0, len(after) - 1, _STEPS).astype(int))] if len(after) else []
    )
    rows, front, done = [], np.zeros((0, len(names))), 0
    trials, hours = known["trials"].to_numpy(dtype=int), known["hours"].to_numpy(dtype=float)
    points = known[names].to_numpy(dtype=float)
    for step in steps:
        until = int(np.searchsorted(trials, step, side="right"))
        front = np.vstack([front, points[done:until]])
        front = front[moocore.is_nondominated(front, maximise=maximise)]
        done = until
        volume = moocore.hypervolume(front, ref=list(analysis.front.reference), maximise=maximise)
        rows.append((int(step), hours[until - 1], analysis.front.normalize(float(volume))))
    return pd.DataFrame(rows, columns=["trials", "hours", "value"])


def _progress_title(data: ProgressData) -> str:
    if data.volume.empty:
        return "No network is measured at full fidelity yet"
    final = float(data.volume["value"].iloc[-1])
    near = data.volume[data.volume["value"] >= 0.99 * final].iloc[0]
    of = counted(int(data.volume["trials"].iloc[-1]), "trial")
    return f"99% of the current hypervolume was reached after {int(near['trials'])} of {of}"


def _short(reason: str, *, place: int) -> str:
    text = reason if len(reason) <= 60 else reason[:59] + "\N{HORIZONTAL ELLIPSIS}"
    return text + "\u200b" * place  # bars of equal labels would fall together
