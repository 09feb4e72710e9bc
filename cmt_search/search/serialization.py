"""Trials as attributes of Optuna trials, and back."""

import json
from collections.abc import Iterable, Iterator, Mapping
from copy import copy
from typing import TYPE_CHECKING, Any

from optuna.trial import FrozenTrial, TrialState

from cmt_search.arch import Arch
from cmt_search.evaluation import Fidelity, Measurement
from cmt_search.scaling.shares import DIMENSIONS, Shares
from cmt_search.search.types import RungRecord, State, TrialRecord
from cmt_search.space.candidates import Candidate, Rung

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial, TrialState


CANDIDATE = "candidate"
NAME = "name"
REPLICATE = "replicate"
RUNGS_PASSED = "rungs_passed"  # after which the trial was let go on
REASON = "reason"
INFEASIBLE = "infeasible"  # true where no network meets the limits
SAMPLER_MEMORY = "sampler_memory"  # what the sampler keeps of the trial, as JSON
REPEATS = "repeats"  # number of the trial that this one takes the place of
MICRO_BATCHES = "micro_batches"  # of the study: images per pass by rung, where memory ran out
TRIALS = "trials"  # of the study: how many --trials last asked for
RESULTS = ("top1", "loss")  # of the last rung, to sort by in optuna-dashboard
_MEASUREMENT = "measurement"

Measured = dict[tuple[int, int], tuple[Measurement, bool]]
"""By rung and place among the seeds: the measurement, and whether it was reused."""

_STATES: dict[str, State] = {
    "RUNNING": "running",
    "WAITING": "running",
    "COMPLETE": "complete",
    "PRUNED": "pruned",
    "FAIL": "failed",
}


def state_of(state: "TrialState") -> State:
    """Optuna's state in our words."""
    return _STATES[state.name]


def candidate_attributes(candidate: Candidate, *, replicate: int) -> dict[str, Any]:
    """What is known of a trial when it is asked for."""
    last = candidate.rungs[-1]
    shares = candidate.shares.values if candidate.shares else ()
    return {
        NAME: candidate.name,
        REPLICATE: replicate,
        **{f"share_{n}": v for n, v in zip(DIMENSIONS, shares, strict=False)},
        "macs": last.macs,
        "params": last.params,
        "activations": last.activations,
        **_figures(last),
        CANDIDATE: json.dumps([_rung_to_dict(rung) for rung in candidate.rungs]),
    }


def without_results(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """What was known of a trial when it was asked for."""
    results = {REASON, RUNGS_PASSED, *RESULTS, *(key for key, *_ in _measurement_keys(attributes))}
    return {key: value for key, value in attributes.items() if key not in results}


def read_candidate(attributes: Mapping[str, Any]) -> Candidate:
    """Read what `candidate_attributes` wrote."""
    shares = [attributes.get(f"share_{n}") for n in DIMENSIONS]
    return Candidate(
        name=attributes[NAME],
        rungs=tuple(_rung_from_dict(rung) for rung in json.loads(attributes[CANDIDATE])),
        shares=None if None in shares else _shares(shares),
    )


def measurement_key(rung: int, *, place: int, micro_batch: int | None) -> str:
    """The attribute that holds the measurement of a rung with the `place`-th of its seeds."""
    key = f"{_MEASUREMENT}_{rung}_{place}"
    return key if micro_batch is None else f"{key}_{micro_batch}"


def measurement_text(measurement: Measurement, *, reused: bool) -> str:
    """One measurement as JSON."""
    return json.dumps({**measurement.to_dict(), "reused": reused})


def read_measurement(text: str) -> tuple[Measurement, bool]:
    """Read what `measurement_text` wrote: the measurement, and whether it was reused."""
    data = json.loads(text)
    reused = data.pop("reused")
    return Measurement.from_dict(data), reused


def read_measurements(
    attributes: Mapping[str, Any], *, micro_batches: Mapping[int, int]
) -> Measured:
    """The measurements of a trial that count, in order: those with the rung's micro-batch."""
    found = {
        (rung, place): read_measurement(attributes[key])
        for key, rung, place, micro_batch in _measurement_keys(attributes)
        if micro_batch == micro_batches.get(rung)
    }
    return dict(sorted(found.items()))


def rungs_measured_otherwise(
    attributes: Mapping[str, Any], *, micro_batches: Mapping[int, int]
) -> set[int]:
    """Rungs with a measurement that counts no more, and none in its place."""
    keys = list(_measurement_keys(attributes))
    now = {(rung, place) for _, rung, place, size in keys if size == micro_batches.get(rung)}
    return {rung for _, rung, place, _ in keys if (rung, place) not in now}


def read_micro_batches(attributes: Mapping[str, Any]) -> dict[int, int]:
    """Images per pass by rung, from the study's attributes; rungs not in it have the recipe's."""
    return {int(rung): size for rung, size in (attributes.get(MICRO_BATCHES) or {}).items()}


def micro_batches_value(micro_batches: Mapping[int, int]) -> dict[str, int]:
    """What `read_micro_batches` reads."""
    return {str(rung): size for rung, size in sorted(micro_batches.items())}


def _measurement_keys(
    attributes: Mapping[str, Any],
) -> Iterator[tuple[str, int, int, int | None]]:
    """Key, rung, place and micro-batch of every measurement."""
    for key in attributes:
        kind, *where = key.split("_")
        if kind == _MEASUREMENT:
            rung, place, *size = map(int, where)
            yield key, rung, place, size[0] if size else None


def trial_record(
    trial: "FrozenTrial", *, micro_batches: Mapping[int, int] | None = None, driven: bool = True
) -> TrialRecord:
    """One trial of a study as plain values; `driven`: some process is at work on the study."""
    attributes, sizes = trial.user_attrs, micro_batches or {}
    state = state_of(trial.state)
    if state == "running" and not driven:
        state = "interrupted"
    candidate = read_candidate(attributes) if CANDIDATE in attributes else None
    found = read_measurements(attributes, micro_batches=sizes)
    rungs = []
    for i, rung in enumerate(candidate.rungs if candidate else ()):
        here = [pair for (at, _), pair in found.items() if at == i]
        measurements, reused = [m for m, _ in here], [r for _, r in here]
        record = RungRecord(
            rung=rung,
            measurements=tuple(measurements),
            reused=tuple(reused),
            micro_batch=sizes.get(i),
        )
        rungs.append(record)
    return TrialRecord(
        number=trial.number,
        state=state,
        name=attributes.get(NAME, f"trial {trial.number}"),
        params=dict(trial.params),
        shares=candidate.shares.values if candidate and candidate.shares else None,
        rungs=tuple(rungs),
        replicate=attributes.get(REPLICATE, 0),
        values=tuple(trial.values) if state == "complete" else (),
        reason=attributes.get(REASON),
        repeats=attributes.get(REPEATS),
        seconds=sum(m.spent for m, reused in found.values() if not reused),
        started=trial.datetime_start.timestamp() if trial.datetime_start else None,
        ended=trial.datetime_complete.timestamp() if trial.datetime_complete else None,
    )


def _figures(rung: Rung) -> dict[str, float]:
    """What was measured of the network before it is trained."""
    figures = {"latency_ms": rung.latency_ms, "memory_mib": rung.memory_mib}
    return {name: value for name, value in figures.items() if value is not None}


def _rung_to_dict(rung: Rung) -> dict[str, Any]:
    return {
        "arch": rung.arch.to_dict(),
        "fidelity": rung.fidelity.to_dict(),
        "macs": rung.macs,
        "params": rung.params,
        "activations": rung.activations,
        **_figures(rung),
        "budget": rung.budget,
        "realised": rung.realised.values if rung.realised else None,
        **({} if rung.growth is None else {"growth": rung.growth}),
    }


def _rung_from_dict(data: Mapping[str, Any]) -> Rung:
    realised = data["realised"]
    return Rung(
        **{
            **data,
            "arch": Arch.from_dict(data["arch"]),
            "fidelity": Fidelity.from_dict(data["fidelity"]),
            "realised": None if realised is None else _shares(realised),
        }
    )


def _shares(values: list[Any]) -> Shares:
    return Shares(**dict(zip(DIMENSIONS, values, strict=True)))


def superseded(trials: Iterable[FrozenTrial]) -> frozenset[int]:
    """Numbers of the trials that another one repeats."""
    return frozenset(trial.user_attrs[REPEATS] for trial in trials if REPEATS in trial.user_attrs)


def outdated(
    trials: Iterable[FrozenTrial], *, micro_batches: Mapping[int, int]
) -> list[FrozenTrial]:
    """Ended trials with a rung that was measured with more images per pass than it is now.

    Those that failed stand in no comparison, and are left.
    """
    trials = list(trials)
    gone = superseded(trials)
    ended = (TrialState.COMPLETE, TrialState.PRUNED)
    return [
        trial
        for trial in trials
        if trial.number not in gone
        and trial.state in ended
        and rungs_measured_otherwise(trial.user_attrs, micro_batches=micro_batches)
    ]


def failed(trials: Iterable[FrozenTrial]) -> list[FrozenTrial]:
    """Failed trials that could be tried again: they have a network, and nobody repeats them."""
    trials = list(trials)
    gone = superseded(trials)
    return [
        trial
        for trial in trials
        if trial.state == TrialState.FAIL
        and trial.number not in gone
        and CANDIDATE in trial.user_attrs
    ]


def repeat_of(trial: FrozenTrial) -> dict[str, Any]:
    """What `StudyStore.add` takes for a trial that repeats this one from its first rung on."""
    return {
        "state": TrialState.RUNNING,
        "params": trial.params,
        "distributions": trial.distributions,
        "attributes": without_results(trial.user_attrs) | {REPEATS: trial.number},
    }


class Lineage:
    """Which trial answers which ask: a trial that repeats another answers the ask of that one.

    Samplers count asks from 0, in order, and see one trial for each: the last.
    """

    def __init__(self, trials: Iterable[FrozenTrial]) -> None:
        self._asks: dict[int, int] = {}  # by number of the trial
        self._last: dict[int, FrozenTrial] = {}  # by ask
        self._count = 0
        for trial in trials:
            repeated = trial.user_attrs.get(REPEATS)
            ask = self.enter(trial.number) if repeated is None else self._asks[repeated]
            self._asks[trial.number] = ask
            self._last[ask] = trial

    def __len__(self) -> int:
        return len(self._asks)

    def enter(self, number: int) -> int:
        """A trial that answers a new ask; the ask."""
        ask, self._count = self._count, self._count + 1
        self._asks[number] = ask
        return ask

    def ask_of(self, number: int) -> int:
        """The ask that a trial answers."""
        return self._asks[number]

    def as_asked(self) -> list[FrozenTrial]:
        """One trial for each ask held at first, numbered by it."""
        seen = []
        for ask, trial in sorted(self._last.items()):
            renumbered = copy(trial)
            renumbered.number = ask
            seen.append(renumbered)
        return seen
