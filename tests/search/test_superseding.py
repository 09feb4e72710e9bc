"""Where memory runs out, a whole rung is trained again in smaller parts, or is missing."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from cmt_search.arch import Arch
from cmt_search.evaluation import Fidelity, Measurement, OutOfMemory
from cmt_search.search import Event, RungRepeated, TrialRecord
from cmt_search.search.scheduler import Scheduler
from cmt_search.search.storage import StudyStore, directions
from cmt_search.search.types import Failure, Job
from tests.search.lookup import FakeSampler, FakeSpace, measure
from tests.search.searching import drive, open_store, records

SPACE = FakeSpace(
    kind="pareto",
    trials=8,
    epochs=(1, 2, 4),
    grid=1000,  # no twins
    sampler=FakeSampler(name="random"),
)


class Memory:
    """Room for `room` images of the largest network; others need less. Notes every training."""

    def __init__(self, *, room: int, blocks: int, batch: int = 64, epochs: int = 2) -> None:
        self.room, self.blocks, self.batch, self.epochs = room, blocks, batch, epochs
        self.done: list[tuple[str, int, int]] = []  # key, epochs, images per pass

    def __call__(
        self,
        arch: Arch,
        *,
        fidelity: Fidelity,
        seed: int,
        folder: Path | None = None,
        micro_batch: int | None = None,
    ) -> Measurement:
        size = micro_batch or self.batch
        large = arch.stages[0].depth >= self.blocks and fidelity.epochs == self.epochs
        if large and size > self.room:
            half = size // 2 if size >= 4 else None
            raise OutOfMemory(f"out of memory with batches of {size}", half)
        self.done.append((arch.key, fidelity.epochs, size))
        top1 = measure(arch, fidelity=fidelity, seed=seed).top1
        return measure(arch, fidelity=fidelity, seed=seed, top1=top1 * size / self.batch)


def largest(space: FakeSpace, *, epochs: int = 2) -> int:
    """Blocks of the network that needs the most memory of those that reach a rung."""
    blocks = []

    def note(arch: Arch, *, fidelity: Fidelity, seed: int, folder: Path | None) -> Measurement:
        if fidelity.epochs == epochs:
            blocks.append(arch.stages[0].depth)
        return measure(arch, fidelity=fidelity, seed=seed)

    with TemporaryDirectory() as folder:
        drive(open_store(Path(folder), space), space, note)
    return max(blocks)


def sizes(trials: list[TrialRecord]) -> set[tuple[int | None, ...]]:
    return {tuple(rung.micro_batch for rung in t.rungs) for t in trials}


def trained(evaluator: Memory, *, epochs: int) -> list[int]:
    return [size for _, at, size in evaluator.done if at == epochs]


def test_every_member_of_a_rung_is_trained_with_the_same_micro_batch(tmp_path: Path) -> None:
    evaluator = Memory(room=20, blocks=largest(SPACE))
    store = open_store(tmp_path, SPACE)
    events: list[Event] = []
    scheduler = drive(store, SPACE, evaluator, on_event=events.append)
    assert scheduler.finished
    trials = records(store)
    assert len(trials) == 8
    assert {t.state for t in trials} == {"complete"}
    assert sizes(trials) == {(None, 16, None)}
    for trial in trials:
        by_size = {e: s for key, e, s in evaluator.done if key == trial.rungs[0].rung.arch.key}
        assert by_size == {1: 64, 2: 16, 4: 64}
        expected = measure(trial.rungs[1].rung.arch, fidelity=Fidelity(epochs=2), seed=7).top1 / 4
        assert trial.rungs[1].measurements[0].top1 == expected
    # the other rungs were not repeated
    for epochs in (1, 4):
        keys = [key for key, at, _ in evaluator.done if at == epochs]
        assert len(keys) == len(set(keys)) == 8
    told = [(e.rung, e.micro_batch) for e in events if isinstance(e, RungRepeated)]
    assert told == [(1, 32), (1, 16)]


def test_what_was_measured_before_is_kept_but_counts_no_more(tmp_path: Path) -> None:
    evaluator = Memory(room=32, blocks=largest(SPACE))
    store = open_store(tmp_path, SPACE)
    drive(store, SPACE, evaluator)
    trials, everything = records(store), records(store, every=True)
    old = [t for t in everything if t.number not in {one.number for one in trials}]
    assert old
    assert {t.repeats for t in trials} - {None} == {t.number for t in old}
    kept = [key for t in store.trials() for key in t.user_attrs if key.startswith("measurement_1_")]
    assert sum(key == "measurement_1_0" for key in kept) == trained(evaluator, epochs=2).count(64)
    assert sum(key == "measurement_1_0_32" for key in kept) == 8


def test_a_repeated_trial_owns_what_it_takes_from_the_one_before(tmp_path: Path) -> None:
    store = open_store(tmp_path, SPACE)
    drive(store, SPACE, Memory(room=32, blocks=largest(SPACE)))
    for trial in records(store):
        assert [rung.reused for rung in trial.rungs] == [(False,)] * 3
        assert trial.seconds == 1.5


def test_a_search_that_was_repeated_asks_what_another_asks(tmp_path: Path) -> None:
    space = replace(SPACE, trials=14, sampler=FakeSampler(name="tpe"))
    found = {}
    for name, room in (("roomy", 64), ("tight", 32)):
        (tmp_path / name).mkdir()
        store = open_store(tmp_path / name, space)
        drive(store, space, Memory(room=room, blocks=largest(space), epochs=4))
        found[name] = sorted(str(t.params) for t in records(store))
    early = 10  # random at first, whatever was measured
    assert len(found["tight"]) == len(found["roomy"]) == 14
    assert len(set(found["tight"]) & set(found["roomy"])) >= early


def test_a_network_that_never_fits_is_missing_and_never_bad(tmp_path: Path) -> None:
    space = replace(SPACE, sampler=FakeSampler(name="tpe"))
    evaluator = Memory(room=0, blocks=largest(space))
    store = open_store(tmp_path, space)
    scheduler = drive(store, space, evaluator, retries=3)
    trials = records(store)
    failed = [t for t in trials if t.state == "failed"]
    assert [t.reason for t in failed] == ["missing: out of memory with batches of 2"]
    assert failed[0].values == ()
    assert scheduler.counts == {"complete": 7, "failed": 1}
    assert sizes(trials) == {(None, 2, None)}


def test_out_of_memory_at_a_size_that_is_no_longer_used_repeats_nothing(tmp_path: Path) -> None:
    space = replace(SPACE, seeds=3, trials=1)
    scheduler = Scheduler(space, open_store(tmp_path, space))
    first, second, third = (scheduler.next_job() for _ in range(3))
    assert first
    assert second
    assert third
    memory = Failure(reason="out of memory", kind="memory", micro_batch=32)
    assert scheduler.fail(first, memory)
    assert scheduler.fail(second, memory)  # had begun at the same time
    scheduler.record(third, measure(third.arch, fidelity=third.fidelity, seed=third.seed))
    again = [scheduler.next_job() for _ in range(3)]
    assert [(job.seed, job.micro_batch) for job in again if job] == [(7, 32), (8, 32), (9, 32)]
    assert scheduler.next_job() is None


def test_pruning_is_decided_anew_on_a_rung_that_is_repeated(tmp_path: Path) -> None:
    space = replace(SPACE, trials=20, reduction_factor=2)
    store = open_store(tmp_path, space)
    drive(store, space, Memory(room=32, blocks=largest(space)))
    trials = records(store)
    assert len(trials) == 20
    assert {t.state for t in trials} == {"complete", "pruned"}
    at_rung = [t for t in trials if t.rungs[1].measurements]
    assert {t.rungs[1].micro_batch for t in at_rung} == {32}
    for trial in at_rung:
        expected = measure(trial.rungs[1].rung.arch, fidelity=Fidelity(epochs=2), seed=7).top1 / 2
        assert trial.rungs[1].measurements[0].top1 == expected


def test_a_kill_after_any_write_of_a_repeat_changes_nothing_in_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = replace(SPACE, trials=3, epochs=(1, 2))
    blocks, storage = largest(space), open_store(tmp_path, space).storage

    def run(name: str, *, writes: int) -> tuple[object, bool]:
        store = StudyStore(storage, storage.create_new_study(directions(("top1",)), name))
        with monkeypatch.context() as patch:
            die_after(patch, writes)
            try:
                drive(store, space, Memory(room=32, blocks=blocks))
            except SystemExit:
                killed = True
            else:
                killed = False
        evaluator = Memory(room=32, blocks=blocks)
        scheduler = drive(store, space, evaluator)
        assert scheduler.finished
        found = [(t.params, t.state, t.values, t.rungs) for t in records(store)]
        return sorted(found, key=str), killed

    expected, _ = run("whole", writes=10**6)
    writes, killed = 0, True
    while killed:
        writes += 2
        found, killed = run(str(writes), writes=writes)
        assert found == expected
    assert writes > 15


def die_after(patch: pytest.MonkeyPatch, writes: int) -> None:
    """End the process, as it were, after so many writes to the study."""
    left = iter(range(writes - 1, -1, -1))

    def dying(write: Callable[..., Any]) -> Callable[..., Any]:
        def write_and_die(*args: object, **known: object) -> object:
            result = write(*args, **known)
            if next(left) == 0:
                raise SystemExit
            return result

        return write_and_die

    for name in ("add", "set", "report", "finish", "set_attribute"):
        patch.setattr(StudyStore, name, dying(getattr(StudyStore, name)))


def test_a_trial_that_was_further_up_goes_back_and_keeps_what_it_measured(tmp_path: Path) -> None:
    space = replace(SPACE, trials=2, epochs=(1, 2))
    scheduler = Scheduler(space, open_store(tmp_path, space))

    def answer(job: Job) -> None:
        scheduler.record(job, measure(job.arch, fidelity=job.fidelity, seed=job.seed))

    first, second = scheduler.next_job(), scheduler.next_job()
    assert first
    assert second
    answer(first)
    upper = scheduler.next_job()  # of the first trial, on the second rung
    assert upper
    assert (upper.trial, upper.rung) == (0, 1)
    scheduler.fail(second, Failure(reason="out of memory", kind="memory", micro_batch=32))
    below = scheduler.next_job()
    assert below
    assert (below.trial, below.rung, below.micro_batch) == (0, 0, 32)
    answer(below)
    answer(upper)  # the first trial ends with it, and not before
    assert scheduler.counts == {"complete": 1}
