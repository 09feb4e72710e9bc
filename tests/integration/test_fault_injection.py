"""Drivers, workers and nodes of a cluster are killed at random moments, and a search survives it.

A short form for every day, and 100 faults under a marker: `pytest -m faults`.
"""

import json
import os
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from cmt_search.search import RunDir, read_trials
from tests.search.lookup import read_log, trained

ROOT = Path(__file__).parents[2]
SHORT = "dwndwd"
MANY = 100
LEAST = 0.9  # of the faults planned; the search may come to its end before the last


def inject(folder: Path, *, faults: str, seed: int, seconds: float) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.search.injecting", str(folder), faults, str(seed)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=seconds,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def check(folder: Path, told: dict[str, Any]) -> None:
    """Nothing lost, nothing counted twice, nothing left behind."""
    assert told["said"].startswith("finished ")
    trials = read_trials(folder)
    assert {t.state for t in trials} == {"complete"}
    assert [t.number for t in trials] == list(range(len(trials)))
    counted = trained(trials)
    assert set(counted.values()) == {1}
    ended = Counter(line[1:4] for line in read_log(folder.with_suffix(".log")) if line[0] == "end")
    assert ended.keys() == counted.keys()
    lost = ended.total() - len(counted)  # trainings that nobody was there to take in any more
    assert lost <= 3 * told["injected"]["d"] + told["injected"]["n"]
    run = RunDir.open(folder)
    assert run.driver() is None
    assert not run.checkpoints.exists()
    assert not list(folder.glob(".tune-*"))


def test_a_search_survives_three_drivers_two_workers_and_a_node(tmp_path: Path) -> None:
    folder = tmp_path / "r"
    told = inject(folder, faults=SHORT, seed=7, seconds=240)
    assert told["injected"] == {"d": 3, "w": 2, "n": 1}
    check(folder, told)


@pytest.mark.faults
@pytest.mark.parametrize("seed", [1, 2])
def test_a_search_survives_a_hundred_faults(tmp_path: Path, seed: int) -> None:
    folder = tmp_path / "r"
    faults = "".join(random.Random(seed).choices("dwn", k=MANY))
    told = inject(folder, faults=faults, seed=seed, seconds=3600)
    assert sum(told["injected"].values()) >= LEAST * MANY
    check(folder, told)
