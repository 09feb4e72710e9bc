"""Drivers, workers and nodes of a cluster are killed at random moments, and a search survives it.

A short form (`slow`), and 100 faults under a marker: `pytest -m faults`.
"""

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cmt_search.search import RunDir, read_trials
from tests.search.lookup import trained

ROOT = Path(__file__).parents[2]
SHORT = "dwndwd"
MANY = 100
LEAST = 0.9  # of the faults must hit; the search may finish before the last


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
    """Nothing counted twice, nothing left behind; the injector has checked each kill."""
    assert told["said"].startswith("finished ")
    trials = read_trials(folder)
    assert {t.state for t in trials} == {"complete"}
    assert [t.number for t in trials] == list(range(len(trials)))
    assert set(trained(trials).values()) == {1}
    run = RunDir.open(folder)
    assert run.driver() is None
    assert not run.checkpoints.exists()
    assert not list(folder.glob(".tune*"))


@pytest.mark.slow
def test_a_search_survives_three_drivers_two_workers_and_a_node(tmp_path: Path) -> None:
    folder = tmp_path / "r"
    told = inject(folder, faults=SHORT, seed=7, seconds=240)
    assert told["hit"] == {"d": 3, "w": 2, "n": 1}
    check(folder, told)


@pytest.mark.faults
@pytest.mark.parametrize("seed", [1, 2])
def test_a_search_survives_a_hundred_faults(tmp_path: Path, seed: int) -> None:
    folder = tmp_path / "r"
    faults = "".join(random.Random(seed).choices("dwn", k=MANY))
    told = inject(folder, faults=faults, seed=seed, seconds=3600)
    assert sum(told["hit"].values()) >= LEAST * MANY
    check(folder, told)
