"""The front as a few kilobytes of SVG: on the screen before plotly and Dash have been loaded."""

import math
from collections.abc import Iterator
from html import escape
from typing import Any

import plotly.graph_objects as go

_PADDING = 0.06  # of the range, on each side: about what plotly leaves
_STEPS = {"hv": "H{0}V{1}", "vh": "V{1}H{0}"}  # of plotly's lines, as commands of a path
_SIZE = 1000  # of the drawing's side in its own units; the page stretches it


def sketch(figure: go.Figure) -> str:
    """The points and lines of a flat figure; empty for a figure in space, or without points.

    Every trace is a single path, and a point is a line of no length with round ends: it stays
    round however the drawing is stretched, and thousands of them cost the browser nothing.
    """
    if any(trace.type not in ("scatter", "scattergl") for trace in figure.data):
        return ""
    traces = [trace for trace in figure.data if not trace.fill and trace.visible in (None, True)]
    drawn = [(trace, list(_places(figure, trace))) for trace in traces if trace.x is not None]
    ends = _ends([place for _, places in drawn for place in places])
    if ends is None:
        return ""
    paths = "".join(_path(trace, places, ends=ends) for trace, places in drawn)
    return (
        f'<svg viewBox="0 0 {_SIZE} {_SIZE}" preserveAspectRatio="none" aria-hidden="true">'
        f"{paths}</svg>"
    )


_Place = tuple[float, float]


def _places(figure: go.Figure, trace: Any) -> Iterator[_Place]:
    """Where the points are, on the scales of the axes."""
    axes = (figure.layout.xaxis, figure.layout.yaxis)
    scales = [math.log10 if axis.type == "log" else float for axis in axes]
    signs = [-1 if axis.autorange == "reversed" else 1 for axis in axes]
    for place in zip(trace.x, trace.y, strict=True):
        if any(value is None or not math.isfinite(value) for value in place):
            continue
        if all(scale is float or value > 0 for scale, value in zip(scales, place, strict=True)):
            yield signs[0] * scales[0](place[0]), signs[1] * scales[1](place[1])


def _ends(places: list[_Place]) -> tuple[_Place, _Place] | None:
    """The padded range of both axes; None: nothing is there."""
    if not places:
        return None
    ranges = []
    for values in zip(*places, strict=True):
        room = _PADDING * (max(values) - min(values)) or 1.0
        ranges.append((min(values) - room, max(values) + room))
    return ranges[0], ranges[1]


def _path(trace: Any, places: list[_Place], *, ends: tuple[_Place, _Place]) -> str:
    (left, right), (low, high) = ends
    spots = [
        (round(_SIZE * (x - left) / (right - left)), round(_SIZE * (high - y) / (high - low)))
        for x, y in places
    ]
    mode = trace.mode or "lines"
    found = ""
    if "lines" in mode and trace.line.color and spots:
        step = _STEPS.get(trace.line.shape, "L{} {}")
        points = "".join(step.format(x, y) for x, y in spots[1:])
        start = "M{} {}".format(*spots[0])
        found += f'<path d="{start}{points}" stroke="{escape(trace.line.color)}" stroke-width="2"/>'
    if "markers" in mode and isinstance(trace.marker.color, str):
        dots = "".join(f"M{x} {y}h0" for x, y in spots)
        size = trace.marker.size if isinstance(trace.marker.size, (int, float)) else 6
        found += (
            f'<path d="{dots}" stroke="{escape(trace.marker.color)}" stroke-width="{size}" '
            'stroke-linecap="round"/>'
        )
    return found
