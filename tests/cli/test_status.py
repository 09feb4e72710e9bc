"""status, --watch and runs: where runs stand, what they cost, how long they may take."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from cmt_search.analysis import analyse, failures_data, front_data
from cmt_search.analysis.frame import trial_state
from cmt_search.cli import invoke, status
from cmt_search.cli.overview import summary
from cmt_search.cli.pace import Pace, Timed
from cmt_search.evaluation import Measurement
from cmt_search.search import RunDir
from tests.analysis.studies import record
from tests.cli.test_interrupted import (
    SPACE,
    Killed,
    Start,
    killed,
    killed_after,
    killed_once,
    start,
)
from tests.cli.test_mistakes import grows
from tests.messages import mentions

__all__ = ["killed", "killed_once", "start"]  # fixtures


def said(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


def test_status_says_cost_and_time_left_from_what_was_measured(
    killed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke(["status", str(killed), "--json"]) == 0
    state = said(capsys)
    assert state["core_hours"] == pytest.approx(3 * 0.1 / 3600, abs=1e-6)  # of 0.1 s each
    assert (state["gpu_hours"], state["trainings_left"], state["at_a_time"]) == (0, 3, 1)
    assert state["seconds_left"] == pytest.approx(3 * 0.1)
    driver = json.loads((killed / "driver.json").read_text())
    assert (driver["slots"], driver["cpus"]) == (1, 1.0)
    (killed / "driver.json").write_text(json.dumps(driver | {"slots": 3, "cpus": 4.0}))
    assert invoke(["status", str(killed), "--json"]) == 0
    state = said(capsys)
    assert state["core_hours"] == pytest.approx(12 * 0.1 / 3600, abs=1e-6)
    assert state["seconds_left"] == pytest.approx(0.1)
    assert invoke(["status", str(killed)]) == 0
    text = capsys.readouterr().out
    assert mentions(text, "0 seconds left ... 3 trainings")
    assert "0.000333 core-hours" in text


def test_hours_of_a_gpu_are_those_of_its_part(
    start: Start, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def on_gpu(*given: Any, **known: Any) -> Measurement:
        from dataclasses import replace

        return replace(grows(*given, **known), device="NVIDIA H100", seconds=3600.0)

    assert start(on_gpu, "--gpus-per-trial", "0.25") == 0
    capsys.readouterr()
    assert invoke(["status", str(tmp_path / "tiny"), "--json"]) == 0
    state = said(capsys)
    assert (state["core_hours"], state["gpu_hours"]) == (0, 6 * 0.25)
    assert state["state"] == "finished"


def test_status_knows_of_an_extension(
    start: Start, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = str(tmp_path / "tiny")
    assert start(grows) == 0
    with pytest.raises(Killed):
        start(killed_after(1), "resume", run, "--trials", "9")
    capsys.readouterr()
    assert invoke(["status", run, "--json"]) == 0
    state = said(capsys)
    assert (state["planned"], state["left"], state["state"]) == (9, 2, "interrupted")


def test_watching_a_run_that_nobody_drives_shows_it_once(
    killed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke(["status", str(killed), "--watch"]) == 0
    assert capsys.readouterr().out.count("interrupted: 3 trials left") == 1


def test_watching_ends_with_the_run(
    killed: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    driving = RunDir.open(killed).lock()
    driving.__enter__()

    def wait(seconds: float) -> None:
        assert seconds >= 5
        driving.__exit__(None, None, None)

    monkeypatch.setattr(status.time, "sleep", wait)
    assert invoke(["status", str(killed), "--watch", "--json"]) == 0
    looks = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [look["state"] for look in looks] == ["running", "interrupted"]


def test_watching_ends_on_an_interrupt(killed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(status.time, "sleep", interrupt)
    with RunDir.open(killed).lock():
        assert invoke(["status", str(killed), "--watch"]) == 0


def test_runs_lists_what_a_folder_holds_and_why_a_run_cannot_be_read(
    killed: Path, start: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = killed.parent
    assert start(grows, "run", str(runs / "space.yaml"), "--runs", str(runs), "--name", "done") == 0
    for name in ("no-space", "no-study", "torn", "no-json"):
        shutil.copytree(killed, runs / name)
    (runs / "no-space" / "space.yaml").unlink()
    (runs / "no-study" / "study.db").unlink()
    (runs / "torn" / "study.db").write_bytes(b"no study " * 999)
    (runs / "no-json" / "run.json").write_text("{")
    (runs / "else").mkdir()
    capsys.readouterr()
    assert invoke(["runs", str(runs), "--json"]) == 0
    rows = {Path(row["run"]).name: row for row in said(capsys)["runs"]}
    assert list(rows) == ["done", "no-json", "no-space", "no-study", "tiny", "torn"]
    assert (rows["done"]["state"], rows["done"]["left"]) == ("finished", 0)
    assert (rows["tiny"]["state"], rows["tiny"]["kind"]) == ("interrupted", "pareto")
    assert "run.json cannot be read" in rows["no-json"]["error"]
    assert "space.yaml" in rows["no-space"]["error"]
    assert "has no study yet" in rows["no-study"]["error"]
    assert "is damaged" in rows["torn"]["error"]
    assert invoke(["runs", str(runs)]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "6/6" in text
    assert "3/6" in text
    assert "unreadable:" in text


def test_runs_without_a_folder_looks_into_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert invoke(["runs"]) == 2
    assert "runs" in capsys.readouterr().err
    (tmp_path / "runs").mkdir()
    assert invoke(["runs"]) == 0
    assert "`cmt-search run" in capsys.readouterr().out


def test_runs_of_a_run_names_the_right_command(
    killed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke(["runs", str(killed)]) == 2
    assert f"`cmt-search status {killed}`" in capsys.readouterr().err


def test_a_dry_run_shows_the_first_networks_and_makes_nothing(
    start: Start, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = SPACE.replace("max: 28", "max: 16")  # steps are timed
    (tmp_path / "space.yaml").write_text(small)
    assert start(grows, "--dry-run", "--json") == 0
    plan = said(capsys)
    assert (plan["trials"], plan["trainings"], plan["exists"]) == (6, 6, False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["space.yaml"]
    assert plan["time"]["at_a_time"] == 1
    assert plan["time"]["source"].startswith("measured just now on this machine: a step of 64")
    preview_candidates = [(row["name"], row["rungs"][-1]["macs"]) for row in plan["candidates"]]
    assert preview_candidates
    assert start(grows, "--json") == 0
    assert said(capsys)["trials"]["complete"] == 6
    from cmt_search.search import read_trials

    trained = [(t.name, t.rungs[-1].rung.macs) for t in read_trials(tmp_path / "tiny")]
    assert trained[: len(preview_candidates)] == preview_candidates


def test_a_dry_run_of_a_run_that_began_tells_what_is_left_by_its_own_trainings(
    killed: Path, start: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(path.name for path in killed.iterdir())
    assert start(grows, "--dry-run", "--trials", "8", "--json") == 0
    plan = said(capsys)
    assert plan["exists"]
    assert plan["time"]["training_seconds"] == pytest.approx(5 * 0.1)
    assert plan["time"]["source"].startswith("what is left: 5 trainings, at the mean time of the")
    assert sorted(path.name for path in killed.iterdir()) == before
    assert start(grows, "--dry-run") == 0
    assert "the run is there, and goes on" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("sampler", "known", "shown"), [("random", False, 4), ("sobol", True, 6), ("grid", True, 6)]
)
def test_a_dry_run_says_whether_the_first_networks_are_known(
    sampler: str,
    known: bool,
    shown: int,
    start: Start,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    timed = Timed(macs=1, step=0.01, rest=0.0)
    pace = Pace(small=timed, large=timed, images=64, batch=64)
    monkeypatch.setattr("cmt_search.cli.pace.pace_of", lambda *_rungs, device: pace)
    stepped = SPACE.replace("max: 28}", "max: 28, step: 2}").replace(
        "max: 16}", "max: 16, step: 2}"
    )
    (tmp_path / "space.yaml").write_text(stepped + f"sampler: {{name: {sampler}}}\n")
    assert start(grows, "--dry-run") == 0
    text = capsys.readouterr().out
    assert ("which networks come first is not known beforehand" in text) is not known
    assert start(grows, "--dry-run", "--json") == 0
    plan = said(capsys)
    assert (plan["trials"], plan["trainings"], len(plan["candidates"])) == (6, 6, shown)


def test_infeasible_means_the_same_everywhere() -> None:
    records = (
        record(0, state="failed", reason="infeasible: at 9 MACs"),
        record(1, state="failed", reason="another program added this trial without a candidate"),
    )
    states = summary(records)["trials"]
    assert states == {"infeasible": 1, "failed": 1}
    assert [trial_state(one) for one in records] == ["infeasible", "failed"]
    assert failures_data(analyse(records)).total() == 1
    assert front_data(analyse(records)).infeasible == 1
