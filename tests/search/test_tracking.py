"""Trials in TensorBoard, MLflow and W&B: whole, once, and never to a search's harm."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from cmt_search.errors import CmtSearchError
from cmt_search.search import Outcome, RunDir, TrialRecord, read_trials, run_search
from cmt_search.search.tracking import (
    Target,
    TrackingCallback,
    metrics_of,
    parse_targets,
    results_of,
)
from tests.search.lookup import FakeSampler, FakeSpace, LookupFactory, open_run

SPACE = FakeSpace(
    trials=6, seeds=2, reduction_factor=2, sampler=FakeSampler(lattice=2, replicates=1), grid=6
)


def search(folder: Path, *asked: str, warn: Callable[[str], None] = print, **known: Any) -> Outcome:
    """Begin a search that is logged, or go on with it."""
    run = open_run(folder)
    with TrackingCallback(run, parse_targets(asked), warn=warn) as follower:
        return run_search(
            run, SPACE, LookupFactory(), executor="inline", on_event=follower, **known
        )


def test_tensorboard_gets_hyperparameters_rungs_and_curves_of_every_trial(tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX")
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    search(tmp_path / "run", "tensorboard")
    trials = read_trials(tmp_path / "run")
    assert {trial.state for trial in trials} == {"complete", "pruned"}
    folders = sorted((tmp_path / "run" / "tensorboard").iterdir())
    assert [folder.name for folder in folders] == [f"trial-{t.number:04d}" for t in trials]
    for folder, trial in zip(folders, trials, strict=True):
        read = events.EventAccumulator(str(folder)).Reload()
        rungs = [rung for rung in trial.rungs if rung.measurements]
        found = [(e.step, e.value) for e in read.Scalars("rung/top1")]
        means = [sum(m.top1 for m in rung.measurements) / 2 for rung in rungs]
        assert found == [(i + 1, pytest.approx(mean)) for i, mean in enumerate(means)]
        assert read.Scalars("result/top1")[0].value == pytest.approx(means[-1])
        curve = read.Scalars(f"curve-{len(rungs)}/top1")
        assert [point.step for point in curve] == list(range(1, len(rungs) + 1))
        plugin = read.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
        assert b"asked/depth" in plugin
        assert b"resolution" in plugin


def test_a_resume_logs_what_is_new_and_nothing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    monkeypatch.setattr(Target, "open", lambda *_, **__: Noting(seen))
    search(tmp_path / "run", "tensorboard", trials=2)
    assert seen == [0, 1]
    search(tmp_path / "run", "tensorboard", trials=4)
    assert seen == [0, 1, 2, 3]
    search(tmp_path / "run", trials=6)  # not logged
    search(tmp_path / "run", "tensorboard")  # nothing is left to train
    assert seen == [0, 1, 2, 3, 4, 5]
    marks = json.loads((tmp_path / "run" / "logged.json").read_text())
    assert marks == {"tensorboard": [0, 1, 2, 3, 4, 5]}


def test_a_tracker_that_fails_warns_once_and_harms_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    failing = {"tensorboard": Failing(), "wandb": Noting(seen)}
    monkeypatch.setattr(Target, "open", lambda target, *_, **__: failing[target.kind])
    monkeypatch.setitem(sys.modules, "wandb", spec_of("wandb"))
    told: list[str] = []
    outcome = search(tmp_path / "run", "tensorboard,wandb", warn=told.append)
    assert outcome.stopped == "finished"
    assert seen == [trial.number for trial in read_trials(tmp_path / "run")]
    (line,) = told
    assert line.startswith("--log tensorboard failed and is disabled for this session (OSError:")
    assert "No space left on device" in line
    assert failing["tensorboard"].calls == 1


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ("mlflow", "--log mlflow needs a package that is not installed: pip install mlflow"),
        ("tensorboard,comet", "--log 'comet' is unknown; use tensorboard, mlflow, wandb"),
    ],
)
def test_a_missing_package_is_named_beforehand(
    asked: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorboardX", spec_of("tensorboardX"))
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(CmtSearchError) as refused:
        parse_targets([asked])
    assert told in str(refused.value)


def test_a_password_is_neither_told_nor_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = "https://me:s3cret word@host"

    def refuse(target: Target, run: RunDir) -> None:
        raise OSError(f"{target.where} does not answer")

    monkeypatch.setattr(Target, "open", refuse)
    monkeypatch.setitem(sys.modules, "mlflow", spec_of("mlflow"))
    told: list[str] = []
    search(tmp_path / "run", f"mlflow={url}", warn=told.append)
    assert "does not answer" in told[0]
    assert "s3cret" not in "".join(told)
    monkeypatch.setattr(Target, "open", lambda *_, **__: Noting([]))
    search(tmp_path / "run", f"mlflow={url}")
    marks = (tmp_path / "run" / "logged.json").read_text()
    assert "me:***@host" in marks
    assert "s3cret" not in marks


def test_equal_targets_count_once() -> None:
    pytest.importorskip("tensorboardX")
    targets = parse_targets(["tensorboard=logs", "tensorboard,tensorboard=logs"])
    assert [str(target) for target in targets] == ["tensorboard=logs", "tensorboard"]


def test_mlflow_gets_a_run_for_every_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow.tracking")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    told: list[str] = []
    search(tmp_path / "run", "mlflow", warn=told.append)
    assert told == []
    (tmp_path / "run" / "logged.json").unlink()  # as if killed before it was noted
    search(tmp_path / "run", "mlflow", warn=told.append)
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path / 'run' / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("run")
    runs = {r.info.run_name: r for r in client.search_runs([experiment.experiment_id])}
    trials = read_trials(tmp_path / "run")
    assert sorted(runs) == [f"trial-{t.number:04d}" for t in trials]
    for trial in trials:
        run = runs[f"trial-{trial.number:04d}"]
        rungs = [rung for rung in trial.rungs if rung.measurements]
        assert run.data.params["depths"] == str(rungs[-1].rung.arch.stages[0].depth)
        assert run.data.params["share/depth"] == str(trial.shares[0] if trial.shares else None)
        history = client.get_metric_history(run.info.run_id, "rung/macs")
        assert [m.step for m in history] == list(range(1, len(rungs) + 1))
        assert run.info.status == ("FINISHED" if trial.state == "complete" else "KILLED")


def test_wandb_gets_a_run_for_every_trial_and_stays_offline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WANDB_MODE", raising=False)
    begun: list[FakeRun] = []
    fake = spec_of("wandb")
    fake.Settings = SimpleNamespace  # type: ignore[attr-defined]
    fake.init = lambda **known: begun.append(FakeRun(known)) or begun[-1]  # type: ignore
    monkeypatch.setitem(sys.modules, "wandb", fake)
    told: list[str] = []
    search(tmp_path / "run", "wandb", warn=told.append)
    assert told == []
    trials = read_trials(tmp_path / "run")
    assert [run.known["id"].rpartition("-")[2] for run in begun] == [str(t.number) for t in trials]
    assert {run.known["mode"] for run in begun} == {"offline"}
    assert {run.known["group"] for run in begun} == {"run"}
    for run, trial in zip(begun, trials, strict=True):
        assert run.known["config"]["asked/depth"] == trial.params["depth"]
        rungs = [row for row in run.rows if "rung/top1" in row]
        assert [row["rung/step"] for row in rungs] == list(range(1, len(rungs) + 1))
        assert run.summary["state"] == trial.state
        assert run.finished == 0
    monkeypatch.setenv("WANDB_MODE", "online")
    (tmp_path / "run" / "logged.json").unlink()
    search(tmp_path / "run", "wandb")
    assert begun[-1].known["mode"] == "online"
    assert begun[-1].known["id"] == begun[len(trials) - 1].known["id"]  # the same run


def test_a_trial_without_networks_is_logged_with_its_reason(tmp_path: Path) -> None:
    infeasible = FakeSpace(trials=3, infeasible_above=0.5, sampler=FakeSampler(lattice=1))
    run = RunDir.create(tmp_path / "r", space_yaml="", fingerprint=SPACE.fingerprint)
    run_search(run, infeasible, LookupFactory(), executor="inline")
    left_out = next(t for t in read_trials(run.path) if t.state == "failed")
    assert left_out.reason is not None
    assert left_out.reason.startswith("infeasible: ")
    assert (results_of(left_out), [*metrics_of(left_out)]) == ({}, [])


class Noting:
    """A tracker that notes the numbers of trials."""

    def __init__(self, seen: list[int]) -> None:
        self._seen = seen

    def log(self, trial: TrialRecord) -> None:
        self._seen.append(trial.number)


class Failing:
    calls = 0

    def log(self, trial: TrialRecord) -> None:
        self.calls += 1
        raise OSError(28, "No space left on device")


class FakeRun:
    """What `wandb.init` gives, as far as it is used."""

    def __init__(self, known: dict[str, Any]) -> None:
        self.known, self.rows, self.summary = known, list[dict[str, Any]](), dict[str, Any]()
        self.finished: int | None = None

    def define_metric(self, name: str, **known: Any) -> None: ...

    def log(self, row: dict[str, Any]) -> None:
        self.rows.append(row)

    def finish(self, *, exit_code: int) -> None:
        self.finished = exit_code


def spec_of(name: str) -> ModuleType:
    """A module that looks installed."""
    from importlib.machinery import ModuleSpec

    module = ModuleType(name)
    module.__spec__ = ModuleSpec(name, None)
    return module
