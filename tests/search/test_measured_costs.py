"""Measured costs are objectives and part of a trial, and a resumed run does not change them."""

from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from cmt_search.analysis import analyse
from cmt_search.search import RunDir, read_trials, run_search
from cmt_search.search.running_trial import RunningTrial
from cmt_search.search.serialization import candidate_attributes, read_candidate
from cmt_search.search.storage import StudyStore
from cmt_search.space.candidates import Rung
from tests.search.lookup import FakeSampler, FakeSpace, LookupFactory, measure


@dataclass(frozen=True, kw_only=True)
class TimedSpace(FakeSpace):
    """Deep networks are slow, wide ones large."""

    def _rung(self, depth: float, width: float, *, epochs: int) -> Rung:
        rung = super()._rung(depth, width, epochs=epochs)
        stage = rung.arch.stages[0]
        return replace(rung, latency_ms=1.5 * stage.depth, memory_mib=stage.width / 4)


SPACE = TimedSpace(
    kind="pareto",
    objectives=("top1", "latency_ms", "memory_mib", "seconds"),
    trials=6,
    sampler=FakeSampler(name="random"),
    epochs=(2,),
)


def test_measured_costs_and_seconds_are_values_of_a_rung() -> None:
    trial = RunningTrial(
        number=0, candidate=SPACE.candidate({"depth": 0.5, "width": 0.5}), seeds=(1, 2)
    )
    for place, seconds in enumerate((3.0, 5.0)):
        job = trial.job(0, seed_index=place)
        found = measure(job.arch, fidelity=job.fidelity, seed=job.seed, seconds=seconds)
        trial.measurements[0, job.seed] = found
    assert trial.values(0, objectives=SPACE.objectives[1:]) == (7.5, 10.0, 4.0)


def test_a_candidate_keeps_what_was_measured_of_it() -> None:
    candidate = SPACE.candidate({"depth": 0.5, "width": 0.5})
    written = candidate_attributes(candidate, replicate=0)
    assert read_candidate(written) == candidate
    plain = FakeSpace(kind="pareto").candidate({"depth": 0.5, "width": 0.5})
    written = candidate_attributes(plain, replicate=0)
    assert "latency" not in str(written)
    assert read_candidate(written) == plain


def test_a_study_minimises_them(tmp_path: Path) -> None:
    run = RunDir.create(tmp_path / "run", space_yaml="", fingerprint=SPACE.fingerprint)
    run_search(run, SPACE, LookupFactory(), executor="inline")
    records = read_trials(run.path)
    assert len(records) == 6
    for record in records:
        rung = record.rungs[0].rung
        assert record.values[1:] == (rung.latency_ms, rung.memory_mib, 0.5)
    store = StudyStore.open(
        run.storage_url(),
        name="run",
        run_id=run.info().id,
        objectives=SPACE.objectives,
    )
    directions = [d.name for d in store.storage.get_study_directions(store.study)]
    assert directions == ["MAXIMIZE", "MINIMIZE", "MINIMIZE", "MINIMIZE"]
    store.close()


def test_the_front_is_that_of_the_measured_cost(tmp_path: Path) -> None:
    run = RunDir.create(tmp_path / "run", space_yaml="", fingerprint=SPACE.fingerprint)
    run_search(run, SPACE, LookupFactory(), executor="inline")
    found = analyse(read_trials(run.path), metrics=("latency_ms", "top1"))
    members = found.front.members
    assert members["latency_ms"].is_monotonic_increasing
    assert members["top1"].is_monotonic_increasing
    assert set(found.frame["memory_mib"]) == {r.width / 4 for r in _stages(run.path)}


def test_networks_without_a_figure_stand_on_no_front_of_it(tmp_path: Path) -> None:
    space = replace(SPACE, objectives=("top1",))
    plain = FakeSpace(kind="pareto", trials=3, sampler=FakeSampler(name="random"))
    run = RunDir.create(tmp_path / "run", space_yaml="", fingerprint=space.fingerprint)
    run_search(run, plain, LookupFactory(), executor="inline")
    front = analyse(read_trials(run.path), metrics=("latency_ms", "top1")).front
    assert front.members.empty
    assert front.hypervolume == pytest.approx(0)


def _stages(path: Path) -> list:  # type: ignore[type-arg]
    return [record.rungs[0].rung.arch.stages[0] for record in read_trials(path)]
