"""Jobs keep their state between epochs where the driver's folder can be reached."""

import os
from pathlib import Path
from typing import Any

import pytest

from cmt_search.arch import Arch
from cmt_search.errors import RunError
from cmt_search.evaluation import Fidelity, Measurement, TrainingFailed
from cmt_search.search import read_trials, run_search
from cmt_search.search.run_dir import Checkpoints
from cmt_search.search.types import Job
from tests.search.lookup import FakeSpace, LookupFactory, measure, open_run

SPACE = FakeSpace(trials=2, epochs=(1, 4))


class Killed(BaseException):
    """The process, as it were."""


class Epochs:
    """Trains epoch by epoch, as the proxy does, and is killed at one of them."""

    def __init__(self, *, killed_at: int | None = None, error: Exception | None = None) -> None:
        self.killed_at, self.error = killed_at, error
        self.trained: list[tuple[str, int]] = []  # key and epoch
        self.folders: list[Path | None] = []

    def __call__(
        self, arch: Arch, *, fidelity: Fidelity, seed: int, folder: Path | None = None
    ) -> Measurement:
        assert folder is not None
        self.folders.append(folder)
        mark = folder / "epoch"
        done = int(mark.read_text()) if mark.exists() else 0
        for epoch in range(done + 1, fidelity.epochs + 1):
            if fidelity.epochs > 1 and epoch == self.killed_at:
                raise self.error or Killed
            self.trained.append((arch.key, epoch))
            folder.mkdir(parents=True, exist_ok=True)
            mark.write_text(str(epoch))
        return measure(arch, fidelity=fidelity, seed=seed)


def job(**changes: Any) -> Job:
    rung = SPACE.candidate({"depth": 0.5, "width": 0.2}).rungs[0]
    known = {"trial": 0, "rung": 0, "seed": 1, "arch": rung.arch, "fidelity": rung.fidelity}
    return Job(**{**known, **changes})


def test_a_killed_job_goes_on_at_its_last_epoch(tmp_path: Path) -> None:
    run = open_run(tmp_path / "r")
    first, second = Epochs(killed_at=3), Epochs()
    with pytest.raises(Killed):
        run_search(run, SPACE, lambda: first, executor="inline")
    assert [p.name for p in run.checkpoints.glob("*/epoch")] == ["epoch"]
    outcome = run_search(run, SPACE, lambda: second, executor="inline")
    assert outcome.stopped == "finished"
    key = first.trained[-1][0]
    assert [epoch for of, epoch in first.trained if of == key] == [1, 2]  # the first of rung one
    assert [epoch for of, epoch in second.trained if of == key] == [3, 4]
    assert {t.state for t in read_trials(run.path)} == {"complete"}


def test_what_was_measured_leaves_no_checkpoint(tmp_path: Path) -> None:
    run, evaluator = open_run(tmp_path / "r"), Epochs()
    left = run_search(run, SPACE, lambda: evaluator, executor="inline", time_limit=1e-9)
    assert left.jobs == 0
    with pytest.raises(Killed):
        run_search(run, SPACE, lambda: Epochs(killed_at=2), executor="inline")
    assert len(list(run.checkpoints.glob("*/epoch"))) == 1  # not that of the first rung
    run_search(run, SPACE, lambda: evaluator, executor="inline")
    assert not run.checkpoints.exists()


def test_what_raised_begins_anew_and_what_was_given_up_is_swept_away(tmp_path: Path) -> None:
    run, evaluator = open_run(tmp_path / "r"), Epochs(killed_at=3, error=ValueError("no"))
    run_search(run, SPACE, lambda: evaluator, executor="inline", retries=1)
    key = evaluator.trained[-1][0]
    assert [epoch for of, epoch in evaluator.trained if of == key][-4:] == [1, 2, 1, 2]
    assert not run.checkpoints.exists()


def test_every_training_has_a_folder_of_its_own(tmp_path: Path) -> None:
    checkpoints = Checkpoints.open(tmp_path)
    less = Fidelity(epochs=1, data_fraction=0.5)
    others = (job(seed=2), job(fidelity=less))
    folders = {checkpoints.path_for(one) for one in (job(), *others)}
    assert len(folders) == 3
    assert checkpoints.path_for(job(trial=5, rung=3)) == checkpoints.path_for(
        job()
    )  # the same training
    assert checkpoints.path_for(job(fidelity=Fidelity(epochs=9))) == checkpoints.path_for(
        job()
    )  # goes on


def test_a_rung_goes_on_from_the_one_before_it(tmp_path: Path) -> None:
    run, evaluator = open_run(tmp_path / "r"), Epochs()
    space = FakeSpace(trials=3, epochs=(1, 3, 4))
    assert run_search(run, space, lambda: evaluator, executor="inline").complete == 3
    keys = {key for key, _ in evaluator.trained}
    assert sorted(evaluator.trained) == [
        (key, epoch) for key in sorted(keys) for epoch in (1, 2, 3, 4)
    ]
    assert not run.checkpoints.exists()


def test_what_a_stopped_trial_has_left_is_swept_away(tmp_path: Path) -> None:
    run = open_run(tmp_path / "r")
    kept: list[set[str]] = []

    class Looking(Epochs):
        def __call__(self, arch: Arch, **known: Any) -> Measurement:
            kept.append(
                {path.name.split("-")[0] for path in run.checkpoints.glob("*/")} - {arch.key}
            )
            return super().__call__(arch, **known)

    space = FakeSpace(trials=12, epochs=(1, 3), reduction_factor=3)
    outcome = run_search(run, space, lambda: Looking(), executor="inline")
    assert outcome.pruned > 3
    assert not any(kept)  # one slot: whoever stands between two rungs is trained next


def test_a_worker_uses_the_folder_only_where_it_is_the_drivers(tmp_path: Path) -> None:
    driver = Checkpoints.open(tmp_path / "here")
    elsewhere = Checkpoints(folder=tmp_path / "there", mark=driver.mark)
    assert driver.path_for(job()) == tmp_path / "here" / job().checkpoint_name
    assert elsewhere.path_for(job()) is None  # no such folder
    elsewhere.folder.mkdir()
    assert elsewhere.path_for(job()) is None  # a folder of that name on another disk
    (elsewhere.folder / "driver").write_text("another driver's")
    assert elsewhere.path_for(job()) is None


def test_a_folder_that_may_not_be_written_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints = Checkpoints.open(tmp_path)
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)
    assert checkpoints.path_for(job()) is None


def test_a_full_disk_ends_the_search_and_spoils_no_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(arch: Arch, *, folder: Path, **known: Any) -> None:
        monkeypatch.setattr(Path, "write_bytes", _no_space)
        raise RuntimeError("PytorchStreamWriter failed writing file data/3: file write failed")

    run = open_run(tmp_path / "r")
    with pytest.raises(RunError) as error:
        run_search(run, SPACE, lambda: full, executor="inline")  # type: ignore[arg-type, return-value]
    assert str(error.value) == (
        f"{run.checkpoints} takes no more checkpoints (No space left on device); make room there, "
        "and resume the run: what was measured is kept"
    )
    monkeypatch.undo()
    assert [t.state for t in read_trials(run.path)] == ["interrupted"]
    outcome = run_search(run, SPACE, LookupFactory(), executor="inline")
    assert (outcome.stopped, outcome.failed) == ("finished", 0)


def test_a_training_that_fails_on_a_disk_with_room_is_a_row(tmp_path: Path) -> None:
    def fails(arch: Arch, **known: Any) -> None:
        raise TrainingFailed("the loss became nan")

    run = open_run(tmp_path / "r")
    outcome = run_search(run, SPACE, lambda: fails, executor="inline")  # type: ignore[arg-type, return-value]
    assert outcome.failed == 2


def _no_space(*_: object) -> None:
    raise OSError(28, "No space left on device")
