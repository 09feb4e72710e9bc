"""A run that was stopped or killed: how it is shown, and how it goes on."""

import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cmt_search.analysis import analyse
from cmt_search.analysis.study_text import study_progress
from cmt_search.arch import Arch
from cmt_search.cli import invoke
from cmt_search.evaluation import Measurement
from cmt_search.search import RunDir, read_trials
from tests.cli.test_mistakes import evaluator, grows
from tests.messages import mentions
from tests.runs import run_words

SPACE = """
kind: pareto
base: {preset: cmt_pico, in_chans: 1}
knobs: {width: {min: 6, max: 16}, resolution: {min: 14, max: 28}}
objectives: [top1, params]
trials: 6
"""
Start = Callable[..., int]


class Killed(BaseException):
    """The process, as it were."""


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Start:
    (tmp_path / "space.yaml").write_text(SPACE)

    def run(evaluate: Any, *arguments: str) -> int:
        evaluator(monkeypatch, evaluate)
        if not arguments or arguments[0].startswith("--"):
            return invoke([*run_words(tmp_path), *arguments])
        return invoke([*arguments, "--executor", "inline"])

    return run


def killed_after(count: int) -> Any:
    done: list[Arch] = []

    def evaluate(arch: Arch, **known: Any) -> Measurement:
        if len(done) == count:
            raise Killed
        done.append(arch)
        return grows(arch, **known)

    return evaluate


@pytest.fixture(scope="module")
def killed_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose driver was killed at its fourth training. Leave it as it is."""
    folder = tmp_path_factory.mktemp("killed")
    (folder / "space.yaml").write_text(SPACE)
    with pytest.MonkeyPatch.context() as patch:
        evaluator(patch, killed_after(3))
        with pytest.raises(Killed):
            invoke([*run_words(folder), "--quiet"])
    return folder / "tiny"


@pytest.fixture
def killed(killed_once: Path, start: Start, tmp_path: Path) -> Path:
    """A copy of that run, for the test to change; its space lies beside it."""
    return Path(shutil.copytree(killed_once, tmp_path / "tiny"))


def test_a_killed_run_is_shown_as_interrupted_with_the_command_to_resume(
    killed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke(["status", str(killed), "--json"]) == 0
    state = json.loads(capsys.readouterr().out)
    assert state["trials"] == {"complete": 3, "interrupted": 1}
    assert (state["left"], state["driver"]) == (3, None)
    assert state["resume"] == f"cmt-search resume {killed}"
    assert invoke(["status", str(killed)]) == 0
    text = capsys.readouterr().out
    assert "3 complete, 1 interrupted" in text
    assert mentions(text, "interrupted ... 3 trials left")
    assert f"cmt-search resume {killed}\n" in text


def test_report_and_explorer_say_so_too(killed: Path) -> None:
    said = study_progress(analyse(read_trials(killed), metrics=("params", "top1")))
    assert "3 complete, 1 interrupted" in said
    assert said.endswith("`cmt-search resume RUN`.")
    assert invoke(["report", str(killed)]) == 0
    assert "Interrupted: " in (killed / "report.html").read_text()


def test_a_run_that_is_driven_is_not_interrupted(
    killed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with RunDir.open(killed).lock():
        assert invoke(["status", str(killed), "--json"]) == 0
        state = json.loads(capsys.readouterr().out)
        assert state["trials"] == {"complete": 3, "running": 1}
        assert state["resume"] is None
        assert "Interrupted" not in study_progress(
            analyse(read_trials(killed), metrics=("params", "top1"))
        )


def test_it_goes_on_and_is_complete(
    killed: Path, start: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    assert start(grows, "resume", str(killed), "--json") == 0
    assert json.loads(capsys.readouterr().out)["trials"]["complete"] == 6
    assert invoke(["status", str(killed), "--json"]) == 0
    state = json.loads(capsys.readouterr().out)
    assert (state["trials"], state["left"], state["resume"]) == ({"complete": 6}, 0, None)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_exits_with_130_and_says_how_to_resume(
    number: int, start: Start, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(arch: Arch, **known: Any) -> Measurement:
        os.kill(os.getpid(), number)
        return grows(arch, **known)

    assert start(interrupt) == 130
    text = capsys.readouterr()
    assert mentions(text.err, "interrupted ... Ctrl-C again")
    assert "1 trials complete" in text.out
    assert mentions(text.out, f"5 trials ... cmt-search resume {tmp_path / 'tiny'}")


def test_an_interrupted_calibration_exits_with_130(
    start: Start, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(arch: Arch, **known: Any) -> Measurement:
        os.kill(os.getpid(), signal.SIGINT)
        return grows(arch, **known)

    words = ("calibrate", str(tmp_path / "space.yaml"), "--runs", str(tmp_path))
    assert start(interrupt, *words) == 130
    assert mentions(capsys.readouterr().err, "interrupted with ... repeat the command")


def test_a_command_that_is_interrupted_says_so_and_exits_with_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(path: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("cmt_search.space.load_space", interrupt)
    assert invoke(["validate", "space.yaml"]) == 130
    assert mentions(capsys.readouterr().err, "interrupted ... cmt-search resume RUN")


def test_the_progress_of_a_resume_counts_what_was_measured_before(
    killed: Path,
    start: Start,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("cmt_search.cli.progress._LINE_EVERY", 0.0)
    assert start(grows, "resume", str(killed)) == 0
    lines = [line for line in capsys.readouterr().err.splitlines() if "trainings," in line]
    best = max(t.rungs[-1].measurements[0].top1 for t in read_trials(killed)[:3])
    assert lines[0].startswith(f"3/6 trainings, best top1 {best:.1%}; now ")
    assert lines[-1].startswith("6/6 trainings, ")


def test_a_time_limit_says_how_to_go_on(
    start: Start, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert start(grows, "--time-limit", "0.000001s") == 0
    text = capsys.readouterr()
    assert mentions(text.err, "time ... Ctrl-C")
    assert "0 trials complete" in text.out
    assert mentions(text.out, f"6 trials ... cmt-search resume {tmp_path / 'tiny'}")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("min: 6", "min: 8", "another search space"),
        ("kind: pareto", "kind: [", "space.yaml"),
    ],
)
def test_a_space_file_edited_under_a_run_is_refused_and_nothing_is_changed(
    killed: Path,
    start: Start,
    capsys: pytest.CaptureFixture[str],
    old: str,
    new: str,
    message: str,
) -> None:
    before, file = read_trials(killed), killed / "space.yaml"
    whole = file.read_text()
    assert old in whole
    file.write_text(whole.replace(old, new))
    assert start(grows, "resume", str(killed)) == 2
    assert mentions(capsys.readouterr().err, message)
    assert read_trials(killed) == before
    file.write_text(whole)
    assert start(grows, "resume", str(killed)) == 0


def test_a_truncated_study_is_refused_by_every_command(
    killed: Path, start: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    study = killed / "study.db"
    cut = study.read_bytes()[: study.stat().st_size // 2]
    study.write_bytes(cut)
    for command in (["status"], ["report"]):
        assert invoke([*command, str(killed)]) == 2
        assert "damaged" in capsys.readouterr().err
    assert start(grows, "resume", str(killed)) == 2
    assert "damaged" in capsys.readouterr().err
    assert study.read_bytes() == cut


def test_a_run_in_which_everything_fails_stops_early_and_can_be_mended(
    start: Start, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    calls = []

    def broken(arch: Arch, **known: Any) -> None:
        calls.append(arch)
        raise ImportError("No module named 'kernels'")

    folder = tmp_path / "tiny"
    assert start(broken, "--retries", "0") == 2
    told = capsys.readouterr().err
    assert len(calls) == 5
    assert mentions(told, f"{folder} ... no trial completed ... 5 trials")
    assert "No module named 'kernels'" in told
    assert f"`cmt-search resume {folder} --retry-failed`" in told
    assert start(grows, "resume", str(folder), "--retry-failed", "--json") == 0
    states = json.loads(capsys.readouterr().out)["trials"]
    assert states["complete"] == 6  # the failed ones stay, beside their retries


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--trial-time-limit", "soon"), "--trial-time-limit 'soon' ... write 90s"),
        (("--retries", "-1"), "--retries"),
    ],
)
def test_wrong_limits_are_refused_before_anything_is_made(
    start: Start,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, str],
    message: str,
) -> None:
    assert start(grows, *arguments) == 2
    assert mentions(capsys.readouterr().err, message)
    assert not (tmp_path / "tiny").exists()
