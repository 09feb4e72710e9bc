"""Networks that trials measured, as variants."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cmt_search.errors import ExportError
from cmt_search.export.variant import Variant
from cmt_search.scaling.shares import DIMENSIONS
from cmt_search.search import RungRecord, TrialRecord

if TYPE_CHECKING:
    from cmt_search.stats import Noise


def trial_variant(record: TrialRecord, *, run: str) -> Variant:
    """Return the network of the last rung that was measured, or of the first if none was.

    Raises:
        ExportError: the trial has no network.
    """
    from cmt_search.analysis.frame import last_measured

    last = last_measured(record)
    if last is None:
        why = f" ({record.reason})" if record.reason else ""
        raise ExportError(f"trial {record.number} has no network{why}; choose another trial")
    return _variant(record, last, run=run, name=f"trial-{record.number}")


def front_variant(
    record: TrialRecord, network: Mapping[str, Any], *, noise: "Noise | None", run: str
) -> Variant:
    """Return a network on the front, with its metrics; `network` is a row of `Front.members`
    without missing values.

    The name of one that is not the trial's last has its rung.
    """
    from cmt_search.analysis.frame import last_measured
    from cmt_search.analysis.metrics import METRICS

    index, rung = next(
        (i, rung) for i, rung in enumerate(record.rungs) if rung.rung.arch.key == network["key"]
    )
    name = f"trial-{record.number}"
    if rung is not last_measured(record):
        name += f"-rung-{index}"
    measured: dict[str, float | int] = {
        name: getattr(value, "item", lambda value=value: value)()
        for name, value in network.items()
        if name in METRICS
    }
    measured["seeds"] = int(network["measurements"])
    if noise is not None:
        measured["top1_sd"] = noise.sd  # between seeds
    return _variant(record, rung, run=run, name=name, metrics=measured)


def _variant(
    record: TrialRecord, rung: RungRecord, *, run: str, name: str, **more: object
) -> Variant:
    shares = record.shares
    return Variant(
        name=name,
        arch=rung.rung.arch,
        provenance={
            "run": run,
            "trial": record.number,
            # Other candidates have names, too, but no rule.
            **({"rule": record.name} if shares else {}),
            "shares": dict(zip(DIMENSIONS, shares, strict=True)) if shares else None,
            "proxy_top1": [m.top1 for m in rung.measurements],
            **more,
        },
    )
