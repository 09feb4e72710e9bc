"""One trial: its networks by stage, what they cost, what was measured, why it ended."""

from collections.abc import Mapping, Sequence
from typing import Any

from dash import html

from cmt_search.analysis.figure_style import short_macs
from cmt_search.analysis.text import shares_text
from cmt_search.evaluation import Fidelity, Measurement
from cmt_search.explorer.drawing import network_drawing, stage_rows
from cmt_search.format import MISSING, duration, macs_text, percent
from cmt_search.scaling import Shares
from cmt_search.search import RungRecord, TrialRecord
from cmt_search.space import Rung
from cmt_search.space.candidates import shares_from_params

HINT = "Click a point, a curve or a row, or type a trial's number."


def find_trial(records: Sequence[TrialRecord], number: int | None) -> TrialRecord | None:
    """The trial of this number."""
    return next((record for record in records if record.number == number), None)


def asked_shares(record: TrialRecord) -> Shares | None:
    """The shares that were asked for, also where no network came of it; None: no rule search."""
    if record.shares:
        depth, width, resolution = record.shares
        return Shares(depth=depth, width=width, resolution=resolution)
    try:
        return shares_from_params(record.params)
    except KeyError:
        return None


def measurement_rows(record: TrialRecord) -> list[dict[str, str]]:
    """A row per training of the trial, and one for each rung that has none yet.

    All have the same columns; limits of a training that none of them has are left out.
    """
    rows = []
    for i, rung in enumerate(record.rungs):
        place = {
            "rung": str(i + 1),
            "MACs": short_macs(rung.rung.macs),
            **fidelity_row(rung.rung.fidelity),
        }
        seen = zip(rung.measurements, rung.reused, strict=True)
        rows += [place | _measured(one, reused=reused) for one, reused in seen]
        if not rung.measurements:
            rows.append(place | {"seed": "", "top-1": MISSING, "loss": "", "seconds": ""})
    empty = {name for name in rows[0] if not any(row[name] for row in rows)} if rows else set()
    dropped = empty - {"seed", "loss", "seconds"}
    return [{name: text for name, text in row.items() if name not in dropped} for row in rows]


def fidelity_row(fidelity: Fidelity) -> dict[str, str]:
    """How a training was cut short, by name; empty where it was not."""
    limit = "" if fidelity.seconds is None else f"{fidelity.seconds:.3g}"
    return {
        "epochs": str(fidelity.epochs),
        "steps": str(fidelity.steps or ""),
        "data": "" if fidelity.data_fraction == 1 else f"{fidelity.data_fraction:.3g}",
        "px": str(fidelity.image_size or ""),
        "limit, s": limit,
    }


def facts(record: TrialRecord) -> dict[str, str]:
    """What there is to say of the trial as a whole, by name."""
    shares = asked_shares(record)
    said = {
        "state": record.state,
        "reason": record.reason or "",
        "shares asked for": shares_text(shares) if shares else "",
        "parameters": "" if shares else _listed(record.params),
        "replicate": str(record.replicate or ""),
        "training": duration(record.seconds),
    }
    return {name: text for name, text in said.items() if text}


def trial_panel(record: TrialRecord, *, commands: Sequence[str] = ()) -> list[Any]:
    """Everything about a trial but its learning curves; `commands` train its network again."""
    rows = measurement_rows(record)
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
        small_table(rows) if rows else html.P("This trial has no rungs: no network came of it."),
        html.P("* answered from an earlier trial", className="note") if reused else None,
        *([html.H4("Networks"), *_networks(record)] if record.rungs else ()),
        *([html.H4("Again"), html.Pre("\n".join(commands))] if commands else ()),
    ]


def measured_costs(rung: Rung) -> dict[str, str]:
    """What was measured of a network before it was trained, by name."""
    said = {}
    if rung.latency_ms is not None:
        said["latency"] = f"{rung.latency_ms:.3g} ms"
    if rung.memory_mib is not None:
        said["memory"] = f"{rung.memory_mib:.3g} MiB"
    return said


def small_table(rows: Sequence[Mapping[str, str]]) -> Any:
    """Rows with the same keys as a table; the first column is text, the others are numbers."""
    head = html.Tr([html.Th(name, scope="col") for name in rows[0]])
    body = [html.Tr([html.Td(text) for text in row.values()]) for row in rows]
    return html.Table([html.Thead(head), html.Tbody(body)], className="small")


def _measured(measurement: Measurement, *, reused: bool) -> dict[str, str]:
    return {
        "seed": str(measurement.seed) + ("*" if reused else ""),
        "top-1": percent(measurement.top1),
        "loss": f"{measurement.loss:.3f}",
        "seconds": f"{measurement.seconds:.3g}",
    }


def _networks(record: TrialRecord) -> list[Any]:
    """Each network of the rungs once, the last one that was measured unfolded."""
    rungs = {rung.rung.arch.key: rung for rung in record.rungs}
    measured = [rung for rung in record.rungs if rung.measurements] or list(record.rungs)
    unfolded = measured[-1].rung.arch.key
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
    counted = (
        f"{rung.macs:,} MACs",
        f"{rung.params:,} parameters",
        f"{rung.activations:,} activations",
    )
    measured = (f"{name} {text}" for name, text in measured_costs(rung).items())
    return f"{', '.join((*counted, *measured))}; key {rung.arch.key}"


def _listed(params: Mapping[str, float | int]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in params.items())
