"""Two trials side by side, differences marked."""

from statistics import fmean
from typing import Any

from dash import html

from cmt_search.analysis.frame import last_measured
from cmt_search.explorer.drawing import network_drawing
from cmt_search.explorer.trial_view import asked_shares, fidelity_row, measured_costs
from cmt_search.format import duration, percent
from cmt_search.search import RungRecord, TrialRecord


def comparison(first: TrialRecord, second: TrialRecord) -> list[Any]:
    """The table of what is said of both, and their networks."""
    rows = comparison_rows(first, second)
    head = html.Tr(
        [
            html.Th(scope="col"),
            *(html.Th(f"trial {r.number}", scope="col") for r in (first, second)),
        ]
    )
    body = [_row(name, one, other) for name, one, other in rows]
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


def _row(name: str, one: str, other: str) -> Any:
    mark = html.Span("\N{NOT EQUAL TO} ", className="mark")
    differs = one != other
    return html.Tr(
        [
            html.Th(name, scope="row"),
            html.Td(one),
            html.Td([mark, other]) if differs else html.Td(other),
        ],
        className="differs" if differs else "",
    )


def _compared(record: TrialRecord) -> dict[str, str]:
    said = {"name": record.name, "state": record.state, "reason": record.reason or ""}
    if shares := asked_shares(record):
        said["shares"] = " / ".join(f"{share:.2f}" for share in shares.values)
    last = last_measured(record)
    if last is not None:
        said |= _network(last) | _training(last)
    return said | {"training": duration(record.seconds)}


def _network(record: RungRecord) -> dict[str, str]:
    rung, arch = record.rung, record.rung.arch
    return {
        "MACs": f"{rung.macs:,}",
        "parameters": f"{rung.params:,}",
        "activations": f"{rung.activations:,}",
        **measured_costs(rung),
        "resolution": f"{arch.resolution} px",
        "depths": "-".join(str(stage.depth) for stage in arch.stages),
        "widths": "-".join(str(stage.width) for stage in arch.stages),
        "heads": "-".join(str(stage.heads) for stage in arch.stages),
        "stem, neck": f"{arch.stem_width}, {arch.neck_width}",
        "IRFFN ratio": ", ".join(dict.fromkeys(f"{s.mlp_ratio:.3g}" for s in arch.stages)),
    }


def _training(record: RungRecord) -> dict[str, str]:
    seen = record.measurements
    said = fidelity_row(record.rung.fidelity) | {"seeds": ", ".join(str(m.seed) for m in seen)}
    if seen:
        said["top-1"] = percent(fmean(m.top1 for m in seen))
        said["loss"] = f"{fmean(m.loss for m in seen):.3f}"
        said["seconds of one"] = f"{fmean(m.seconds for m in seen):.3g}"
    return said
