"""One trial: its networks by stage, what they cost, what was measured, why it ended."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dash import html

from cmt_search.analysis.figure_style import short_macs
from cmt_search.analysis.wording import MISSING, duration, macs_text, percent, shares_text
from cmt_search.arch import Arch
from cmt_search.cost import cost, sizes_of
from cmt_search.scaling import Shares
from cmt_search.search import RungRecord, TrialRecord
from cmt_search.space import Rung

HINT = "Click a point, a curve or a row, or type a trial's number."


def find_trial(records: Sequence[TrialRecord], number: int | None) -> TrialRecord | None:
    """The trial of this number."""
    return next((record for record in records if record.number == number), None)


def stage_rows(arch: Arch) -> list[dict[str, str]]:
    """A network by part: blocks, channels, side of the map in pixels, share of the MACs."""
    sizes, whole = sizes_of(arch), cost(arch)
    stem = {"blocks": "", "channels": str(arch.stem_width), "side": _side(sizes.stem_tokens)}
    stages = [
        {"blocks": str(stage.depth), "channels": str(stage.width), "side": _side(size.tokens)}
        for stage, size in zip(arch.stages, sizes.stages, strict=True)
    ]
    head = {"blocks": "", "channels": str(arch.neck_width), "side": "1"}
    return [
        {"part": row.name, **part, "MACs": f"{row.macs / whole.macs:.0%}"}
        for row, part in zip(whole.rows, [stem, *stages, head], strict=True)
    ]


def measurement_rows(record: TrialRecord) -> Iterator[dict[str, str]]:
    """A row per training of the trial, and one for each rung that has none yet."""
    for i, rung in enumerate(record.rungs):
        place = {
            "rung": str(i + 1),
            "MACs": short_macs(rung.rung.macs),
            "epochs": str(rung.rung.fidelity.epochs),
        }
        for measurement, reused in zip(rung.measurements, rung.reused, strict=True):
            yield {
                **place,
                "seed": str(measurement.seed) + ("*" if reused else ""),
                "top-1": percent(measurement.top1),
                "loss": f"{measurement.loss:.3f}",
            }
        if not rung.measurements:
            yield {**place, "seed": "", "top-1": MISSING, "loss": ""}


def facts(record: TrialRecord) -> dict[str, str]:
    """What there is to say of the trial as a whole, by name."""
    shares = record.shares
    said = {
        "state": record.state,
        "reason": record.reason or "",
        "shares asked for": shares_text(_shares(shares)) if shares else "",
        "parameters": "" if shares else _listed(record.params),
        "replicate": str(record.replicate or ""),
        "training": duration(record.seconds),
    }
    return {name: text for name, text in said.items() if text}


def trial_panel(record: TrialRecord) -> list[Any]:
    """Everything about a trial but its learning curves."""
    rows = list(measurement_rows(record))
    reused = any(True in rung.reused for rung in record.rungs)
    return [
        html.H3(record.name),
        html.Dl(
            [
                part
                for name, text in facts(record).items()
                for part in (html.Dt(name), html.Dd(text, className=f"fact-{name}"))
            ]
        ),
        html.H4("Measurements"),
        small_table(rows) if rows else html.P("This trial has no rungs."),
        html.P("* answered from an earlier trial", className="note") if reused else None,
        html.H4("Networks"),
        *_networks(record),
    ]


def small_table(rows: Sequence[Mapping[str, str]]) -> Any:
    """Rows with the same keys as a table; the first column is text, the others are numbers."""
    head = html.Tr([html.Th(name, scope="col") for name in rows[0]])
    body = [html.Tr([html.Td(text) for text in row.values()]) for row in rows]
    return html.Table([html.Thead(head), html.Tbody(body)], className="small")


def _networks(record: TrialRecord) -> list[Any]:
    """Each network of the ladder once, the last one that was measured unfolded."""
    rungs = {rung.rung.arch.key: rung for rung in record.rungs}
    measured = [rung for rung in record.rungs if rung.measurements] or list(record.rungs)
    unfolded = measured[-1].rung.arch.key if measured else ""
    return [_network(rung, unfolded=key == unfolded) for key, rung in rungs.items()]


def _network(record: RungRecord, *, unfolded: bool) -> Any:
    rung = record.rung
    summary = html.Summary(f"{macs_text(rung.macs)} at {rung.arch.resolution} px")
    parts = [summary, html.P(_costs(rung)), small_table(stage_rows(rung.arch))]
    if rung.realised is not None:
        parts.append(html.P(f"realised shares: {shares_text(rung.realised)}", className="note"))
    return html.Details(parts, open=unfolded)


def _costs(rung: Rung) -> str:
    return (
        f"{rung.macs:,} MACs, {rung.params:,} parameters, {rung.activations:,} activations; "
        f"key {rung.arch.key}"
    )


def _listed(params: Mapping[str, float | int]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in params.items())


def _shares(values: tuple[float, float, float]) -> Shares:
    depth, width, resolution = values
    return Shares(depth=depth, width=width, resolution=resolution)


def _side(tokens: int) -> str:
    return str(math.isqrt(tokens))  # maps are square: `Arch.resolution` is a side
