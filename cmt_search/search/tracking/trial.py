"""A finished trial as names and numbers, which is all that a tracker takes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Protocol

from cmt_search.arch import Arch
from cmt_search.scaling.shares import DIMENSIONS
from cmt_search.search.record import RungRecord, TrialRecord

Value = str | int | float


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One number of a series."""

    name: str
    step: int
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Logged:
    """One trial, to be logged whole."""

    run: str  # name of the search
    number: int
    name: str  # of the candidate
    state: str  # complete, pruned, failed
    reason: str | None
    hparams: dict[str, Value]
    results: dict[str, float]  # of the last rung measured
    series: tuple[Point, ...]  # rungs by their number from 1; learning curves by epoch
    started: float | None  # seconds since 1970
    ended: float | None

    @property
    def title(self) -> str:
        """Its name in lists, where names should sort by number."""
        return f"trial-{self.number:04d}"


class Tracker(Protocol):
    """Where trials are logged to."""

    def log(self, trial: Logged) -> None:
        """Log a trial, whole."""
        ...


def logged(record: TrialRecord, *, run: str) -> Logged:
    """What is logged of a trial that has ended."""
    measured = [rung for rung in record.rungs if rung.measurements]
    return Logged(
        run=run,
        number=record.number,
        name=record.name,
        state=record.state,
        reason=record.reason,
        hparams=_hparams(record),
        results=_results(measured[-1]) if measured else {},
        series=tuple(point for i, rung in enumerate(measured) for point in _series(rung, at=i + 1)),
        started=record.started,
        ended=record.ended,
    )


def _hparams(record: TrialRecord) -> dict[str, Value]:
    """What was asked for, and what the largest network became."""
    found: dict[str, Value] = {"candidate": record.name, "replicate": record.replicate}
    found |= {f"asked/{name}": value for name, value in record.params.items()}
    shares = zip(DIMENSIONS, record.shares or (), strict=False)
    found |= {f"share/{name}": value for name, value in shares}
    if record.rungs:
        last = record.rungs[-1].rung
        found |= _sizes(last.arch)
        found |= {"macs": last.macs, "params": last.params, "activations": last.activations}
        found |= {"epochs": last.fidelity.epochs, "rungs": len(record.rungs)}
    return found


def _sizes(arch: Arch) -> dict[str, Value]:
    return {
        "resolution": arch.resolution,
        "stem_width": arch.stem_width,
        "depth": arch.depth,
        "depths": "-".join(str(stage.depth) for stage in arch.stages),
        "widths": "-".join(str(stage.width) for stage in arch.stages),
        "width": arch.stages[0].width,
    }


def _results(rung: RungRecord) -> dict[str, float]:
    """Means over the seeds."""
    return {
        "top1": fmean(m.top1 for m in rung.measurements),
        "loss": fmean(m.loss for m in rung.measurements),
        "seconds": fmean(m.seconds for m in rung.measurements),
    }


def _series(rung: RungRecord, *, at: int) -> Iterator[Point]:
    known = {
        **_results(rung),
        "macs": rung.rung.macs,
        "params": rung.rung.params,
        "epochs": rung.rung.fidelity.epochs,
    }
    for name, value in known.items():
        yield Point(name=f"rung/{name}", step=at, value=float(value))
    yield from _curve(rung, name=f"curve-{at}")


def _curve(rung: RungRecord, *, name: str) -> Iterator[Point]:
    """The learning curve, means over the seeds."""
    epochs: Sequence[int] = [point.epoch for point in rung.measurements[0].curve]
    for i, epoch in enumerate(epochs):
        here = [m.curve[i] for m in rung.measurements if len(m.curve) > i]
        for key in ("train_loss", "loss", "top1"):
            mean = fmean(getattr(point, key) for point in here)
            yield Point(name=f"{name}/{key}", step=epoch, value=mean)
