"""SIGKILL at random moments, many times; what each kill must leave is checked by the killer."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cmt_search.search import RunDir, TrialRecord, read_trials, run_search
from tests.search.killing import SPACE
from tests.search.lookup import LookupFactory

ROOT = Path(__file__).parents[2]
KILLS = int(os.environ.get("CMT_SEARCH_TEST_KILLS", "10"))  # more of them: minutes, not seconds


def kill_drivers(folder: Path, *, kills: int, seed: int) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.search.killing", str(folder), str(kills), str(seed)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def asked(trials: tuple[TrialRecord, ...]) -> list[tuple[object, ...]]:
    """What was asked for, in order, and what became of it."""
    return [(t.number, t.name, t.params, t.replicate, t.state, t.values, t.reason) for t in trials]


@pytest.mark.slow
def test_a_search_killed_at_random_moments_ends_as_one_that_never_was(tmp_path: Path) -> None:
    folder = tmp_path / "killed"
    told = kill_drivers(folder, kills=KILLS, seed=5)
    assert told["stopped"] == "finished"
    assert told["killed"] >= min(KILLS, 5)
    trials = read_trials(folder)

    whole = RunDir.create(tmp_path / "whole", space_yaml="", fingerprint=SPACE.fingerprint)
    run_search(whole, SPACE, LookupFactory(raises=3), executor="inline", retries=0)
    assert asked(trials) == asked(read_trials(whole.path))

    assert {t.state for t in trials} == {"complete", "pruned", "failed"}  # no orphans
