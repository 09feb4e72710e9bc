"""One trial: its networks by stage, what they cost, what was measured, why it ended."""

from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean
from typing import Any

from dash import html

from cmt_search.analysis.figure_style import short_macs
from cmt_search.analysis.trials_table import last_measured
from cmt_search.analysis.wording import MISSING, duration, macs_text, percent, shares_text
from cmt_search.explorer.drawing import network_drawing, stage_rows
from cmt_search.scaling import Shares
from cmt_search.search import RungRecord, TrialRecord
from cmt_search.space import Rung

HINT = "Click a point, a curve or a row, or type a trial's number."


def find_trial(records: Sequence[TrialRecord], number: int | None) -> TrialRecord | None:
    """The trial of this number."""
    return next((record for record in records if record.number == number), None)


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


def trial_panel(record: TrialRecord, *, commands: Sequence[str] = ()) -> list[Any]:
    """Everything about a trial but its learning curves; `commands` train its network again."""
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
        *([html.H4("Again"), html.Pre("\n".join(commands))] if commands else ()),
    ]


def comparison(first: TrialRecord, second: TrialRecord) -> list[Any]:
    """Two trials side by side, differences marked."""
    rows = comparison_rows(first, second)
    head = html.Tr(
        [
            html.Th(scope="col"),
            *(html.Th(f"trial {r.number}", scope="col") for r in (first, second)),
        ]
    )
    body = [
        html.Tr(
            [
                html.Th(name, scope="row"),
                html.Td(one),
                html.Td([html.Span("\N{NOT EQUAL TO} ", className="mark"), other])
                if one != other
                else html.Td(other),
            ],
            className="differs" if one != other else "",
        )
        for name, one, other in rows
    ]
    count = sum(one != other for _, one, other in rows)
    drawn = [
        part
        for record in (first, second)
        if (last := last_measured(record))
        for part in (html.H4(f"trial {record.number}"), network_drawing(last.rung.arch))
    ]
    return [
        html.H3(f"{first.name} against {second.name}"),
        html.P(f"{count} of {len(rows)} rows differ: they are marked.", className="note"),
        html.Table([html.Thead(head), html.Tbody(body)], className="comparison"),
        *drawn,
    ]


def comparison_rows(first: TrialRecord, second: TrialRecord) -> list[tuple[str, str, str]]:
    """What is said of two trials, by name; of the last rung that was measured of each."""
    one, other = _compared(first), _compared(second)
    rows = [(name, one.get(name, ""), other.get(name, "")) for name in {**one, **other}]
    return [row for row in rows if row[1] or row[2]]


def _compared(record: TrialRecord) -> dict[str, str]:
    said = {"name": record.name, "state": record.state, "reason": record.reason or ""}
    if record.shares:
        said["shares"] = " / ".join(f"{share:.2f}" for share in record.shares)
    last = last_measured(record)
    if last is None:
        return said
    rung, arch, seen = last.rung, last.rung.arch, last.measurements
    said |= {
        "MACs": f"{rung.macs:,}",
        "parameters": f"{rung.params:,}",
        "activations": f"{rung.activations:,}",
        "resolution": f"{arch.resolution} px",
        "depths": "-".join(str(stage.depth) for stage in arch.stages),
        "widths": "-".join(str(stage.width) for stage in arch.stages),
        "heads": "-".join(str(stage.heads) for stage in arch.stages),
        "stem, neck": f"{arch.stem_width}, {arch.neck_width}",
        "IRFFN ratio": ", ".join(dict.fromkeys(f"{s.mlp_ratio:.3g}" for s in arch.stages)),
        "epochs": str(rung.fidelity.epochs),
        "seeds": ", ".join(str(m.seed) for m in seen),
    }
    if rung.latency_ms is not None:
        said["latency"] = f"{rung.latency_ms:.3g} ms"
    if rung.memory_mib is not None:
        said["memory"] = f"{rung.memory_mib:.3g} MiB"
    if seen:
        said["top-1"] = percent(fmean(m.top1 for m in seen))
        said["loss"] = f"{fmean(m.loss for m in seen):.3f}"
    return said | {"training": duration(record.seconds)}


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
    parts = [
        summary,
        html.P(_costs(rung)),
        network_drawing(rung.arch),
        small_table(stage_rows(rung.arch)),
    ]
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
