"""A trial as attributes of an Optuna trial, and back.

Numbers that people sort by are attributes of their own, because optuna-dashboard sorts scalars
only; what is nested is a JSON text. A measurement is one attribute: written whole or not at all.
"""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cmt_search.arch import Arch
from cmt_search.evaluation import Fidelity, Measurement
from cmt_search.scaling.shares import DIMENSIONS, Shares
from cmt_search.search.record import RungRecord, State, TrialRecord
from cmt_search.space.candidate import Candidate, Rung

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial, TrialState

CANDIDATE = "candidate"
NAME = "name"
REPLICATE = "replicate"
RUNGS_PASSED = "rungs_passed"  # after which the trial was let go on
REASON = "reason"
INFEASIBLE = "infeasible"  # true where no network meets the limits
_MEASUREMENT = "measurement"

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


def read_candidate(attributes: Mapping[str, Any]) -> Candidate:
    """Read what `candidate_attributes` wrote."""
    shares = [attributes.get(f"share_{n}") for n in DIMENSIONS]
    return Candidate(
        name=attributes[NAME],
        rungs=tuple(_rung_from_dict(rung) for rung in json.loads(attributes[CANDIDATE])),
        shares=None if None in shares else _shares(shares),
    )


def measurement_key(rung: int, *, place: int) -> str:
    """The attribute that holds the measurement of a rung with the `place`-th of its seeds."""
    return f"{_MEASUREMENT}_{rung}_{place}"


def measurement_text(measurement: Measurement, *, reused: bool) -> str:
    """One measurement as JSON."""
    return json.dumps({**measurement.to_dict(), "reused": reused})


def read_measurement(text: str) -> tuple[Measurement, bool]:
    """Read what `measurement_text` wrote: the measurement, and whether it was reused."""
    data = json.loads(text)
    reused = data.pop("reused")
    return Measurement.from_dict(data), reused


def read_measurements(
    attributes: Mapping[str, Any],
) -> dict[tuple[int, int], tuple[Measurement, bool]]:
    """All measurements of a trial by (rung, place), in order."""
    found = {}
    for key, text in attributes.items():
        kind, *where = key.split("_")
        if kind == _MEASUREMENT:
            found[int(where[0]), int(where[1])] = read_measurement(text)
    return dict(sorted(found.items()))


def trial_record(trial: "FrozenTrial") -> TrialRecord:
    """One trial of a study as plain values."""
    attributes = trial.user_attrs
    state = state_of(trial.state)
    candidate = read_candidate(attributes) if CANDIDATE in attributes else None
    found = read_measurements(attributes)
    rungs = []
    for i, rung in enumerate(candidate.rungs if candidate else ()):
        here = [pair for (at, _), pair in found.items() if at == i]
        measurements, reused = [m for m, _ in here], [r for _, r in here]
        rungs.append(RungRecord(rung=rung, measurements=tuple(measurements), reused=tuple(reused)))
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
        seconds=sum(m.seconds for m, reused in found.values() if not reused),
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
