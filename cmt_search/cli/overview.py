"""Where a run stands: what is done, what it cost, what is left."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any, Literal

from cmt_search.cli.console import command
from cmt_search.search import RunDir, design_points, read_run

if TYPE_CHECKING:
    from cmt_search.search import Driver, RunRecord, TrialRecord
    from cmt_search.space import SearchSpace

State = Literal["running", "interrupted", "finished"]
_OPEN = ("running", "interrupted")  # trials
_HOUR = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """What is left of a run, at most: networks coincide and trials stop early."""

    trials: int
    trainings: int
    seconds: float | None  # of training, one after another; None: nothing was measured yet


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """A run at a glance."""

    path: Path
    name: str
    kind: str  # of the search; "list" of a calibration
    state: State
    driver: "Driver | None"
    records: int
    trials: dict[str, int]  # by state
    planned: int | None  # trials in all; None: a list that does not say how long it is
    left: Left
    at_a_time: int  # trainings, as far as is known
    core_hours: float  # that trainings held; without those that failed or were broken off
    gpu_hours: float
    failures: dict[str, int]  # by reason
    best: dict[str, Any] | None
    started: str  # ISO 8601, UTC
    changed: float | None  # seconds since 1970

    @property
    def seconds_left(self) -> float | None:
        """Until the run ends, at most, if as many trainings run at a time as so far."""
        return None if self.left.seconds is None else self.left.seconds / self.at_a_time

    @property
    def resume(self) -> str | None:
        """The command that goes on with it."""
        return command("resume", self.path) if self.state == "interrupted" else None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "name": self.name,
            "kind": self.kind,
            "state": self.state,
            "trials": self.trials,
            "failures": self.failures,
            "best": self.best,
            "planned": self.planned,
            "left": self.left.trials,
            "trainings_left": self.left.trainings,
            "seconds_left": self.seconds_left,
            "at_a_time": self.at_a_time,
            "core_hours": round(self.core_hours, 6),
            "gpu_hours": round(self.gpu_hours, 6),
            "started": self.started,
            "changed": self.changed,
            "driver": str(self.driver) if self.driver else None,
            "resume": self.resume,
        }


def overview(path: Path, *, storage: str | None = None, trials: int | None = None) -> Overview:
    """Where the run in a folder stands; with another number of `trials`, if it is given.

    Raises:
        RunError: there is no run, or it has no study yet.
        SpaceError: its space file cannot be read.
    """
    from cmt_search.space import load_space

    folder = RunDir.open(path)
    info, space, run = folder.info(), load_space(folder.space), read_run(path, storage=storage)
    run = replace(run, wanted=trials or run.wanted)
    listed = info.fingerprint != space.fingerprint  # a calibration's: the space is what it is of
    found = summary(run.trials)
    planned, unasked = _wanted(run, found["trials"], space=None if listed else space)
    left = _left(run.trials, unasked=unasked, seeds=None if listed else space.seeds)
    driver, last = folder.driver() if run.driven else None, folder.last_driver()
    cores, gpus = _held(run.trials, last=last)
    state: State = "finished" if left.trials == 0 else "interrupted"
    return Overview(
        path=path,
        name=info.name,
        kind="list" if listed else space.kind,
        state="running" if run.driven else state,
        driver=driver or (last if run.driven else None),
        records=len(run.trials),
        planned=planned,
        left=left,
        at_a_time=(last.slots if last else None) or 1,
        core_hours=cores / _HOUR,
        gpu_hours=gpus / _HOUR,
        started=info.created,
        changed=_changed(folder, run.trials),
        **found,
    )


def summary(records: "Sequence[TrialRecord]") -> dict[str, Any]:
    """Trials by state, failures by reason, and the best."""
    states: dict[str, int] = {}
    failures: dict[str, int] = {}
    best: dict[str, Any] | None = None
    for record in records:
        reason = (record.reason or "unknown").splitlines()[0]
        state = "infeasible" if record.is_infeasible else record.state
        states[state] = states.get(state, 0) + 1
        if state == "failed":
            failures[reason] = failures.get(reason, 0) + 1
        if record.state == "complete":
            mean = fmean(m.top1 for m in record.rungs[-1].measurements)
            if best is None or mean > best["top1"]:
                best = {"trial": record.number, "name": record.name, "top1": mean}
    return {"trials": states, "failures": failures, "best": best}


def _wanted(
    run: "RunRecord", states: dict[str, int], *, space: "SearchSpace | None"
) -> tuple[int | None, int]:
    """Trials in all, and those not yet asked for; counted as the scheduler counts them."""
    asked = sum(trial.retry_of is None for trial in run.trials)
    if space is None:
        return run.wanted, max(0, (run.wanted or 0) - asked)
    size = most_trials(space)
    wanted = run.wanted or space.trials
    if wanted is None and space.kind == "rule":
        wanted = len(design_points(space))  # where no number is given, it ends with its design
    planned = wanted or size or asked
    unasked = max(0, planned - (asked - states.get("infeasible", 0)))  # those do not count
    if size is not None:
        planned, unasked = min(planned, size), min(unasked, max(0, size - asked))
    return planned, unasked


def most_trials(space: "SearchSpace") -> int | None:
    """Trials that the sampler can give; None: no end of them."""
    if space.sampler.name == "design":
        return len(design_points(space))
    if space.sampler.name == "grid":
        from cmt_search.search.sampling.sobol import grid_size

        return grid_size(space.parameters())
    return None


def _left(records: "Sequence[TrialRecord]", *, unasked: int, seeds: int | None) -> Left:
    """What is left, with the mean time of what was measured on the same rung."""
    took: dict[int, list[float]] = defaultdict(list)
    work: dict[int, list[float]] = defaultdict(list)
    missing: dict[int, int] = defaultdict(int)
    seeds = seeds or max((len(r.measurements) for t in records for r in t.rungs), default=1)
    running = [record for record in records if record.state in _OPEN]
    for record in records:
        for i, rung in enumerate(record.rungs):
            pairs = zip(rung.measurements, rung.reused, strict=True)
            took[i] += [m.spent for m, reused in pairs if not reused]
            work[i].append(float(rung.rung.macs * rung.rung.fidelity.epochs))
            if record.state in _OPEN and record.reason is None:
                missing[i] += seeds - len(rung.measurements)
    for i in work or (0,):
        missing[i] += unasked * seeds
    typical = {i: fmean(seconds) for i, seconds in took.items() if seconds}
    if typical:  # rungs that none has reached: as much longer as they are more work
        last = max(typical)
        rate = typical[last] / fmean(work[last])
        typical = {i: rate * fmean(done) for i, done in work.items()} | typical
    seconds = sum(count * typical[i] for i, count in missing.items()) if typical else None
    return Left(trials=len(running) + unasked, trainings=sum(missing.values()), seconds=seconds)


def _held(records: "Sequence[TrialRecord]", *, last: "Driver | None") -> tuple[float, float]:
    """Seconds of cores and of GPUs that trainings held, each as much as the last driver's."""
    cores = gpus = 0.0
    for record in records:
        for rung in record.rungs:
            for measured, reused in zip(rung.measurements, rung.reused, strict=True):
                if reused:
                    continue
                if measured.device == "cpu":
                    cores += measured.spent * ((last.cpus if last else None) or 1.0)
                else:
                    gpus += measured.spent * ((last.gpus if last else None) or 1.0)
    return cores, gpus


def _changed(folder: RunDir, records: "Sequence[TrialRecord]") -> float | None:
    """When something last happened in the study."""
    files = (folder.study, folder.study.with_name(folder.study.name + "-wal"))
    times = [file.stat().st_mtime for file in files if file.exists()]
    times += [t for record in records for t in (record.started, record.ended) if t is not None]
    return max(times, default=None)
