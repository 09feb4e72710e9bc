"""The command line, killed in the middle of a training on real images, and resumed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import torch

from cmt_search.cli import invoke
from cmt_search.search import RunDir, TrialRecord, read_trials

SPACE = """
kind: pareto
base: {preset: cmt_pico, in_chans: 1}
knobs: {width: {min: 6, max: 16}, resolution: {min: 14, max: 20}}
trials: 2
sampler: {name: random}
proxy:
  epochs: 4
  data_fraction: 0.02
  recipe: {batch: 32, lr: 0.004}
"""
EARLIER = 5000.0  # seconds of training, written into a checkpoint to know it again


def command(space: Path, runs: Path) -> list[str]:
    return ["run", str(space), "--runs", str(runs), "--name", "r", "--executor", "inline"]


def kill_at_checkpoint(words: list[str], run: RunDir, *, trials: int) -> Path:
    """Run a command until its training after so many trials has a checkpoint; return that."""
    program = [sys.executable, "-c", "from cmt_search.cli import main; main()"]
    driver = subprocess.Popen(
        [*program, *words],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline, seen = time.monotonic() + 240, set[str]()
    while len(seen) <= trials:
        assert driver.poll() is None, driver.communicate()
        assert time.monotonic() < deadline, "no checkpoint"
        seen |= {file.parent.name for file in run.checkpoints.glob("*/checkpoint.pt")}
        time.sleep(0.005)
    driver.send_signal(signal.SIGKILL)
    driver.communicate()
    assert driver.returncode == -signal.SIGKILL
    (checkpoint,) = run.checkpoints.glob("*/checkpoint.pt")
    return checkpoint


def results(trials: tuple[TrialRecord, ...]) -> list[object]:
    return [
        (t.number, t.params, t.state, t.values, r.rung.arch.key, m.curve, m.correct)
        for t in trials
        for r in t.rungs
        for m in r.measurements
    ]


def test_a_killed_command_resumes_at_its_last_epoch(tmp_path: Path) -> None:
    space = tmp_path / "space.yaml"
    space.write_text(SPACE)
    run = RunDir(tmp_path / "killed" / "r")
    checkpoint = kill_at_checkpoint(command(space, tmp_path / "killed"), run, trials=1)
    recorded = read_trials(run.path)
    assert [t.state for t in recorded] == ["complete", "interrupted"]
    assert run.driver() is None
    state = torch.load(checkpoint, weights_only=True)
    epochs = len(state["curve"])
    assert 1 <= epochs < 4
    torch.save({**state, "seconds": state["seconds"] + EARLIER}, checkpoint)

    assert invoke(["resume", str(run.path), "--executor", "inline"]) == 0
    trials = read_trials(run.path)
    assert trials[0] == recorded[0]  # neither lost nor repeated
    seconds = [m.seconds for t in trials for r in t.rungs for m in r.measurements]
    assert seconds[0] < EARLIER < seconds[1]  # the second went on from the checkpoint
    assert not run.checkpoints.exists()

    assert invoke(command(space, tmp_path / "whole")) == 0
    assert results(trials) == results(read_trials(tmp_path / "whole" / "r"))  # bit for bit
