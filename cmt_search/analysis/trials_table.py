"""One row per trial: what it is, what it cost and what it showed last."""

from collections.abc import Collection, Iterable
from statistics import fmean
from typing import Any

import pandas as pd

from cmt_search.analysis.metrics import METRICS
from cmt_search.analysis.study import Analysis
from cmt_search.search.types import RungRecord, TrialRecord

SHARES = ("depth share", "width share", "resolution share")


def build_trials_table(records: Iterable[TrialRecord]) -> pd.DataFrame:
    """Tabulate every trial: number, name, state, parameters and metrics of its last rung.

    Accuracy and loss are means over the seeds of the last rung that was measured.
    """
    return pd.DataFrame([_row(record) for record in records])


def last_measured(record: TrialRecord) -> RungRecord | None:
    """The last rung with a measurement; without any the first rung."""
    measured = [rung for rung in record.rungs if rung.measurements]
    return measured[-1] if measured else (record.rungs[0] if record.rungs else None)


def selection_csv(analysis: Analysis, trials: Collection[int] | None) -> str:
    """The trainings of these trials, or of all, as CSV: the columns of `trials_frame`."""
    frame = analysis.frame
    if trials is not None:
        frame = frame[frame["trial"].isin(list(trials))]
    text: str = frame.to_csv(index=False)
    return text


def _row(record: TrialRecord) -> dict[str, Any]:
    last = last_measured(record)
    shares = dict(zip(SHARES, record.shares, strict=True)) if record.shares else {}
    asked = shares or {f"{name} (asked)": value for name, value in record.params.items()}
    return {
        "trial": record.number,
        "name": record.name,
        "state": record.state,
        "reason": record.reason,
        **asked,
        **_metrics(last),
        "trained": record.seconds,
        "started": record.started,
        "ended": record.ended,
    }


def _metrics(last: RungRecord | None) -> dict[str, float | None]:
    if last is None:
        return dict.fromkeys(METRICS)
    rung, seen = last.rung, last.measurements
    return {
        **{name: getattr(rung, name, None) for name in METRICS},
        **{
            name: fmean(getattr(m, name) for m in seen) if seen else None
            for name in ("top1", "loss", "seconds")
        },
    }
