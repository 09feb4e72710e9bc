"""Which worker trained what when."""

import heapq
from dataclasses import dataclass

import pandas as pd
import plotly.graph_objects as go

from cmt_search.analysis.figure_style import BLUE, GREY, ORANGE, SKY, VERMILLION, styled
from cmt_search.analysis.study import Analysis
from cmt_search.format import counted

_STATE_COLOURS = {
    "complete": BLUE,
    "pruned": ORANGE,
    "failed": VERMILLION,
    "running": SKY,
    "interrupted": GREY,
}
_SPAN = ["trial", "name", "state", "lane", "start", "end"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TimelineData:
    """Trainings in time, a lane for each worker; without workers trials, as many as ran at once."""

    spans: pd.DataFrame  # trial, name, state, lane, start, end (hours from the first start)
    workers: tuple[str, ...] = ()  # HOST:PROCESS by lane
    untimed: int = 0  # further trainings, whose time was not recorded

    @property
    def lanes(self) -> int:
        """How many ran at once at most."""
        return int(self.spans["lane"].max()) + 1 if len(self.spans) else 0


def timeline_data(analysis: Analysis) -> TimelineData:
    """Compute which worker trained what when.

    In studies that did not note their workers, a lane is a trial at once instead; one that goes on
    ends with the newest time known.
    """
    every = [
        (record, measured)
        for record in analysis.records
        for rung in record.rungs
        for measured, reused in zip(rung.measurements, rung.reused, strict=True)
        if not reused
    ]
    trained = [(r, m) for r, m in every if m.began is not None and m.ended is not None]
    if not trained:
        return _trials_at_once(analysis)
    trained.sort(key=lambda pair: pair[1].began or 0.0)
    first = trained[0][1].began or 0.0
    workers = list(dict.fromkeys(measured.worker for _, measured in trained))
    rows = [
        (
            *(record.number, record.name, record.state, workers.index(measured.worker)),
            *(((moment or first) - first) / 3600 for moment in (measured.began, measured.ended)),
        )
        for record, measured in trained
    ]
    return TimelineData(
        spans=pd.DataFrame(rows, columns=_SPAN),
        workers=tuple(workers),
        untimed=len(every) - len(trained),
    )


def _trials_at_once(analysis: Analysis) -> TimelineData:
    timed = [r for r in analysis.records if r.started is not None and r.rungs]
    if not timed:
        return TimelineData(spans=pd.DataFrame(columns=_SPAN))
    first = min(r.started or 0.0 for r in timed)
    newest = max(max(r.ended or 0.0, (r.started or 0.0) + r.seconds) for r in timed)
    rows, busy, free, lanes = [], list[tuple[float, int]](), list[int](), 0
    for record in sorted(timed, key=lambda r: r.started or 0.0):
        start, end = record.started or 0.0, record.ended or newest
        while busy and busy[0][0] <= start:
            heapq.heappush(free, heapq.heappop(busy)[1])
        if free:
            lane = heapq.heappop(free)
        else:
            lane, lanes = lanes, lanes + 1
        heapq.heappush(busy, (end, lane))
        hours = ((start - first) / 3600, (end - first) / 3600)
        rows.append((record.number, record.name, record.state, lane, *hours))
    return TimelineData(spans=pd.DataFrame(rows, columns=_SPAN))


def draw_timeline(data: TimelineData) -> go.Figure:
    """Draw the timeline: a bar per training, a lane for each worker."""
    figure = go.Figure()
    spans = data.spans
    scale, unit = (1.0, "hours") if len(spans) and spans["end"].max() > 2 else (60.0, "minutes")
    for state, colour in _STATE_COLOURS.items():
        rows = spans[spans["state"] == state]
        if rows.empty:
            continue
        figure.add_scatter(
            x=[
                x
                for s, e in zip(scale * rows["start"], scale * rows["end"], strict=True)
                for x in (s, e, None)
            ],
            y=[y for lane in rows["lane"] for y in (lane + 1, lane + 1, None)],
            text=[
                t
                for trial, name in zip(rows["trial"], rows["name"], strict=True)
                for t in [f"{name} (trial {trial})"] * 3
            ],
            mode="lines+markers",
            marker={"symbol": "line-ns", "size": 9, "line": {"width": 1.5, "color": colour}},
            line={"color": colour, "width": 7},
            opacity=0.8,
            name=f"{state} ({len(rows)})",
            hovertemplate=f"%{{text}}<br>at %{{x:.2f}} {unit}<extra></extra>",
        )
    figure.update_xaxes(title=f"{unit} since the first trial began")
    figure.update_yaxes(title="trial at once", dtick=max(1, data.lanes // 8), rangemode="tozero")
    if data.workers:
        every = max(1, data.lanes // 20)
        figure.update_yaxes(
            title="worker",
            tickvals=list(range(1, data.lanes + 1, every)),
            ticktext=list(data.workers[::every]),
        )
    untimed = f", nor did {counted(data.untimed, 'training')} of an older version"
    return styled(
        figure,
        title=_title(data),
        subtitle="A bar per training, from its beginning to its end; those that failed left none"
        + (untimed if data.untimed else "")
        if data.workers
        else "A bar per trial, from asking for it to its end",
        height=min(620, 250 + 22 * max(data.lanes, 1)),
    )


def _title(data: TimelineData) -> str:
    if not data.lanes:
        return "No trial has begun yet"
    if not data.workers:
        return f"At most {counted(data.lanes, 'trial')} ran at once"
    spans, hosts = data.spans, {worker.rpartition(":")[0] for worker in data.workers}
    busy = float((spans["end"] - spans["start"]).sum())
    where = f" on {len(hosts)} machines" if len(hosts) > 1 else ""
    many = f"{len(data.workers)} workers" if len(data.workers) > 1 else "One worker"
    took = f"{busy:.1f} hours" if busy > 2 else f"{60 * busy:.0f} minutes"
    return f"{many}{where} trained for {took} in all"
