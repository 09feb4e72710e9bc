"""A study as tables: one row per trial, per training, and per network."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import pandas as pd

from cmt_search.evaluation import Fidelity, Measurement
from cmt_search.scaling.shares import DIMENSIONS
from cmt_search.search.types import RungRecord, TrialRecord


@dataclass(frozen=True, slots=True)
class Column:
    """One column of the table of trainings."""

    name: str
    dtype: str
    meaning: str


COLUMNS = (
    Column("trial", "Int64", "number of the trial"),
    Column("state", "string", "running, complete, pruned or failed"),
    Column("name", "string", "the rule's name, or how the point came about"),
    Column("replicate", "Int64", "0 is the first measurement of a candidate"),
    Column("rung", "Int64", "index of the trial's rung; 0 is the first"),
    Column("rungs", "Int64", "number of the trial's rungs"),
    Column("full_fidelity", "boolean", "trained at the last rung's fidelity"),
    Column("key", "string", "hash of the network"),
    Column("share_depth", "float64", "share asked for"),
    Column("share_width", "float64", "share asked for"),
    Column("share_resolution", "float64", "share asked for"),
    Column("realised_depth", "float64", "share that the rounded network has"),
    Column("realised_width", "float64", "share that the rounded network has"),
    Column("realised_resolution", "float64", "share that the rounded network has"),
    Column("budget", "float64", "MACs asked for"),
    Column("macs", "Int64", "multiply-accumulates of the network"),
    Column("params", "Int64", "parameters of the network"),
    Column("activations", "Int64", "elements of all convolution and linear outputs"),
    Column("latency_ms", "float64", "measured time of a forward pass, where a search asks for it"),
    Column("memory_mib", "float64", "measured memory of a forward pass, where a search asks"),
    Column("depth", "Int64", "blocks in all"),
    Column("depths", "string", "blocks by stage"),
    Column("stem_width", "Int64", "channels of the stem"),
    Column("widths", "string", "channels by stage"),
    Column("resolution", "Int64", "input side in pixels"),
    Column("epochs", "Int64", "passes over the training images"),
    Column("data_fraction", "float64", "of the training images"),
    Column("image_size", "Int64", "side trained at in pixels; missing: the resolution"),
    Column("seed", "Int64", "seed of the training"),
    Column("top1", "float64", "validation accuracy after the last epoch, 0..1"),
    Column("loss", "float64", "validation cross-entropy after the last epoch, nats"),
    Column("seconds", "float64", "wall time of the training"),
    Column("images", "Int64", "validation images"),
    Column("device", "string", "cpu, or the name of the GPU"),
    Column("worker", "string", "host and process that trained it"),
    Column("began", "float64", "when the training began, seconds since 1970"),
    Column("reused", "boolean", "answered from an earlier training of this study"),
    Column("reason", "string", "why the trial failed or was pruned"),
)

SHARES = [f"share_{dimension}" for dimension in DIMENSIONS]
REALISED = [f"realised_{dimension}" for dimension in DIMENSIONS]
SHARE_COLUMNS = ("depth share", "width share", "resolution share")
METRIC_COLUMNS = (
    *("macs", "params", "activations", "latency_ms", "memory_mib"),
    *("seconds", "top1", "loss"),
)
_TRAINING = ["key", "epochs", "data_fraction", "image_size", "seed"]
_KEPT = [
    *("key", "trial", "name", *SHARES, *REALISED, "budget", "macs", "params", "activations"),
    *("latency_ms", "memory_mib"),
    *("depth", "depths", "stem_width", "widths", "resolution", "epochs"),
]


def trials_frame(records: Iterable[TrialRecord]) -> pd.DataFrame:
    """Tabulate every trial: number, name, state, parameters and metrics of its last rung.

    Accuracy, loss and seconds are means over the seeds of the last rung that was measured, which
    `measurements` counts; `rungs` counts the rungs with a measurement. See `trial_state`.
    """
    return pd.DataFrame([_trial_row(record) for record in records])


def last_measured(record: TrialRecord) -> RungRecord | None:
    """Return the last rung with a measurement; without any the first rung."""
    measured = [rung for rung in record.rungs if rung.measurements]
    return measured[-1] if measured else (record.rungs[0] if record.rungs else None)


def selection_csv(frame: pd.DataFrame, trials: Collection[int] | None) -> str:
    """Write the trainings of these trials, or of all, as CSV; `frame` as of `trainings_frame`."""
    if trials is not None:
        frame = frame[frame["trial"].isin(list(trials))]
    text: str = frame.to_csv(index=False)
    return text


def trainings_frame(records: Iterable[TrialRecord]) -> pd.DataFrame:
    """One row per (trial, rung, seed) that was measured; see `COLUMNS`.

    A trial without any measurement, and the rung at which a trial failed, have a row without one.
    """
    rows = [row for record in records for row in _training_rows(record)]
    table = pd.DataFrame(rows, columns=[column.name for column in COLUMNS])
    return table.astype({column.name: column.dtype for column in COLUMNS})


def trainings(frame: pd.DataFrame) -> pd.DataFrame:
    """The measured full-fidelity rows, each training once however many trials it answered."""
    full = frame[frame["full_fidelity"].fillna(False) & frame["top1"].notna()]
    return full.drop_duplicates(_TRAINING).reset_index(drop=True)


def networks(frame: pd.DataFrame) -> pd.DataFrame:
    """One row per network at full fidelity: its sizes, and the means over its seeds.

    The name is that of the first trial that measured it. `measurements` counts the seeds.
    """
    grouped = trainings(frame).groupby("key", sort=False)
    kept = grouped[[name for name in _KEPT if name != "key"]].first()
    means = grouped[["top1", "loss", "seconds"]].mean()
    count = grouped.size().rename("measurements").astype("Int64")
    return pd.concat([kept, means, count], axis=1).reset_index()


def trial_state(record: TrialRecord) -> str:
    """The state of a trial; "infeasible" if no network met the limits, so none was trained."""
    return "infeasible" if record.is_infeasible else record.state


def _trial_row(record: TrialRecord) -> dict[str, Any]:
    last = last_measured(record)
    shares = dict(zip(SHARE_COLUMNS, record.shares, strict=True)) if record.shares else {}
    asked = shares or {f"{name} (asked)": value for name, value in record.params.items()}
    return {
        "trial": record.number,
        "name": record.name,
        "state": trial_state(record),
        "reason": record.reason,
        **asked,
        **_last_metrics(last),
        "measurements": len(last.measurements) if last else 0,
        "rungs": sum(bool(rung.measurements) for rung in record.rungs),
        "trained": record.seconds,
        "started": record.started,
        "ended": record.ended,
    }


def _last_metrics(last: RungRecord | None) -> dict[str, float | None]:
    if last is None:
        return dict.fromkeys(METRIC_COLUMNS)
    seen = last.measurements
    return {
        **{name: getattr(last.rung, name, None) for name in METRIC_COLUMNS},
        **{
            name: fmean(getattr(m, name) for m in seen) if seen else None
            for name in ("top1", "loss", "seconds")
        },
    }


def _training_rows(record: TrialRecord) -> list[dict[str, Any]]:
    shares = record.shares or (None, None, None)
    trial = {
        "trial": record.number,
        "state": record.state,
        "name": record.name,
        "replicate": record.replicate,
        "rungs": len(record.rungs),
        # Progress bars end their lines by a return alone, which tables would not give back.
        "reason": record.reason and "\n".join(record.reason.splitlines()),
        **dict(zip(SHARES, shares, strict=True)),
    }
    full = max((r.rung.fidelity for r in record.rungs), key=_expense, default=None)
    rows = [
        {**trial, **_rung_columns(rung, index=i, full=full), **_measured(measurement, reused)}
        for i, rung in enumerate(record.rungs)
        for measurement, reused in zip(rung.measurements, rung.reused, strict=True)
    ]
    if rows and record.state != "failed":
        return rows
    waiting = [i for i, rung in enumerate(record.rungs) if not rung.measurements]
    if waiting:
        i = waiting[0]
        return [*rows, {**trial, **_rung_columns(record.rungs[i], index=i, full=full)}]
    return rows or [trial]


def _expense(fidelity: Fidelity) -> tuple[float, float]:
    size = float("inf") if fidelity.image_size is None else fidelity.image_size
    return fidelity.epochs * fidelity.data_fraction, size


def _rung_columns(record: RungRecord, *, index: int, full: Fidelity | None) -> dict[str, Any]:
    rung, arch, fidelity = record.rung, record.rung.arch, record.rung.fidelity
    realised: Sequence[float | None] = rung.realised.values if rung.realised else (None,) * 3
    return {
        "rung": index,
        "full_fidelity": fidelity == full,
        "key": arch.key,
        **dict(zip(REALISED, realised, strict=True)),
        "budget": rung.budget,
        "macs": rung.macs,
        "params": rung.params,
        "activations": rung.activations,
        "latency_ms": rung.latency_ms,
        "memory_mib": rung.memory_mib,
        "depth": arch.depth,
        "depths": "-".join(str(stage.depth) for stage in arch.stages),
        "stem_width": arch.stem_width,
        "widths": "-".join(str(stage.width) for stage in arch.stages),
        "resolution": arch.resolution,
        **fidelity.to_dict(),
    }


def _measured(measurement: Measurement, reused: bool) -> dict[str, Any]:
    names = ("seed", "top1", "loss", "seconds", "images", "device", "began")
    measured = {name: getattr(measurement, name) for name in names}
    return {**measured, "worker": measurement.worker or None, "reused": reused}
