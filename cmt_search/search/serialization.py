"""Trials as attributes of Optuna trials, and back."""

import json
from collections.abc import Mapping
from typing import Any

from optuna.trial import FrozenTrial, TrialState
from pydantic import TypeAdapter

from cmt_search.evaluation import Measurement
from cmt_search.search.types import RungRecord, State, TrialRecord
from cmt_search.space.candidates import Candidate

CANDIDATE = "candidate"
NAME = "name"
REPLICATE = "replicate"  # unless it is 0
MACS = "macs"  # of the last rung, to sort by in optuna-dashboard
RUNGS_PASSED = "rungs_passed"  # rungs after which the trial was promoted
REASON = "reason"
INFEASIBLE = "infeasible"  # true if no network meets the limits
SAMPLER_STATE = "sampler_state"  # what the sampler stores with the trial, as JSON
FOREIGN = "another program added this trial without a candidate"  # a reason
RETRY_OF = "retry_of"  # number of the failed trial that this one retries
TRIALS = "trials"  # of the study: number of trials last requested by --trials
DESIGN = "design"  # of the study: points that do not depend on results, as JSON
_MEASUREMENT = "measurement"
_CANDIDATE = TypeAdapter(Candidate)
_CHUNK = 30_000  # characters; a TEXT column of MySQL holds 65,535 bytes, JSON doubles quotes

Measurements = dict[tuple[int, int], tuple[Measurement, bool]]
"""By rung and index of the seed: the measurement, and whether it was reused."""

_STATES: dict[TrialState, State] = {
    TrialState.RUNNING: "running",
    TrialState.WAITING: "running",
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
}


def state_of(state: TrialState) -> State:
    """Return the state of a `TrialRecord`."""
    return _STATES[state]


def recorded_state(trial: FrozenTrial) -> State:
    """Return the state of a trial of a study; one that ended without a candidate failed."""
    is_foreign = trial.state.is_finished() and CANDIDATE not in trial.user_attrs
    return "failed" if is_foreign else state_of(trial.state)


def split_text(key: str, text: str) -> dict[str, str | int]:
    """Split a text over attributes that fit a TEXT column of MySQL.

    A long text has the number of its parts under `key`, which has to be written last.
    """
    if len(text) <= _CHUNK:
        return {key: text}
    parts = [text[start : start + _CHUNK] for start in range(0, len(text), _CHUNK)]
    return {**{f"{key}:{i}": part for i, part in enumerate(parts)}, key: len(parts)}


def join_text(key: str, attributes: Mapping[str, Any]) -> str:
    """Read a text that was written with `split_text`."""
    value = attributes[key]
    return (
        value if isinstance(value, str) else "".join(attributes[f"{key}:{i}"] for i in range(value))
    )


def candidate_attributes(candidate: Candidate, *, replicate: int) -> dict[str, Any]:
    """Return the attributes that a trial starts with; few, since each costs a millisecond."""
    text = _CANDIDATE.dump_json(candidate, exclude_none=True).decode()
    return {
        NAME: candidate.name,
        MACS: candidate.rungs[-1].macs,
        **({REPLICATE: replicate} if replicate else {}),
        **split_text(CANDIDATE, text),
    }


def read_candidate(attributes: Mapping[str, Any]) -> Candidate | None:
    """Read the candidate of a trial; None if it has none."""
    if CANDIDATE not in attributes:
        return None
    return _CANDIDATE.validate_json(join_text(CANDIDATE, attributes))


def measurement_attributes(
    measurement: Measurement, *, rung: int, seed_index: int, reused: bool
) -> dict[str, str | int]:
    """Return the attributes that hold one measurement, to be written in this order."""
    text = json.dumps({**measurement.to_dict(), "reused": reused})
    return split_text(f"{_MEASUREMENT}_{rung}_{seed_index}", text)


def read_measurements(attributes: Mapping[str, Any]) -> Measurements:
    """Read the measurements of a trial, ordered by rung and seed."""
    measurements: Measurements = {}
    for key in attributes:
        kind, *indices = key.split("_")
        if kind == _MEASUREMENT and ":" not in key:
            data = json.loads(join_text(key, attributes))
            reused = data.pop("reused")
            rung, seed_index = map(int, indices)
            measurements[rung, seed_index] = Measurement.from_dict(data), reused
    return dict(sorted(measurements.items()))


def initial_attributes(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the attributes that the trial started with."""
    return {
        key: value
        for key, value in attributes.items()
        if key not in (REASON, RUNGS_PASSED) and key.split("_")[0] != _MEASUREMENT
    }


def trial_record(trial: FrozenTrial, *, is_driven: bool = True) -> TrialRecord:
    """Convert a trial of a study; `is_driven`: a process is running the search."""
    attributes = trial.user_attrs
    state = recorded_state(trial)
    if state == "running" and not is_driven:
        state = "interrupted"
    candidate = read_candidate(attributes)
    measurements = read_measurements(attributes)
    rungs = []
    for i, rung in enumerate(candidate.rungs if candidate else ()):
        of_rung = [pair for (index, _), pair in measurements.items() if index == i]
        record = RungRecord(
            rung=rung,
            measurements=tuple(measurement for measurement, _ in of_rung),
            reused=tuple(reused for _, reused in of_rung),
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
        reason=attributes.get(REASON, FOREIGN if state == "failed" and not candidate else None),
        is_infeasible=INFEASIBLE in attributes,
        retry_of=attributes.get(RETRY_OF),
        seconds=sum(m.spent for m, reused in measurements.values() if not reused),
        started=trial.datetime_start.timestamp() if trial.datetime_start else None,
        ended=trial.datetime_complete.timestamp() if trial.datetime_complete else None,
    )
