"""A chosen point of the triangle, and the network that it gives."""

import math
from collections.abc import Mapping
from typing import Any

from dash import html

from cmt_search.analysis.text import shares_text
from cmt_search.errors import CmtSearchError
from cmt_search.explorer.drawing import network_drawing
from cmt_search.explorer.study import Study
from cmt_search.format import macs_text
from cmt_search.scaling import Member, Shares


def budget_range(study: Study) -> dict[str, Any]:
    """The slider's min, max and marks: decimal logarithms of MACs."""
    least, most = (round(math.log10(macs), 4) for macs in study.macs or (1e6, 1e7))
    steps = [least + (most - least) * i / 5 for i in range(6)]
    marks = {round(step, 4): macs_text(10**step) for step in steps}
    return {"min": least, "max": most, "marks": marks}


def asked_macs(study: Study, *, budget: float) -> float:
    """MACs of the slider's value, which an address may put beyond its ends."""
    least, most = study.macs or (0.0, math.inf)
    return min(max(10**budget, least), most)


def chosen_shares(depth: float | None, width: float | None) -> Shares | None:
    """The point of two sliders; what they leave is resolution's, and width gives way to depth."""
    if depth is None or width is None:
        return None
    width = min(width, 1 - depth)
    return Shares(depth=depth, width=width, resolution=max(0.0, 1 - depth - width))


def clicked_shares(click: Mapping[str, Any] | None) -> Shares | None:
    """The point that a click on the map means."""
    point = click["points"][0] if click and click.get("points") else {}
    if not all(corner in point for corner in "abc"):
        return None
    return chosen_shares(float(point["b"]), float(point["c"]))


def solved_panel(study: Study, shares: Shares, *, macs: float) -> Any:
    """The network at a point of the triangle and a budget, or why there is none."""
    if study.solve is None:
        return html.P("The space file of this run solves no rules.", className="note")
    try:
        member = study.solve(shares, macs)
    except CmtSearchError as error:
        return html.P(f"No network: {error}", className="fact-reason")
    return html.Div([html.P(_costs(member)), network_drawing(member.arch), *_notes(member)])


def _costs(member: Member) -> str:
    cost = member.cost
    return (
        f"{cost.macs:,} MACs, {cost.params:,} parameters, {cost.activations:,} activations at "
        f"{member.arch.resolution} px; key {member.arch.key}"
    )


def _notes(member: Member) -> list[Any]:
    notes = list(member.notes)
    if member.realised is not None:
        notes.insert(0, f"realised shares: {shares_text(member.realised)}")
    return [html.P(note, className="note") for note in notes]
