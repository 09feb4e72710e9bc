"""SIGKILL at random moments, many times: nothing is lost, nothing counts twice, nothing differs."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from cmt_search.search import RunDir, TrialRecord, read_trials, run_search
from tests.search.killing import SPACE
from tests.search.lookup import LookupFactory, read_log, trained

ROOT = Path(__file__).parents[2]
KILLS = int(os.environ.get("CMT_SEARCH_TEST_KILLS", "25"))  # more of them: minutes, not seconds


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
    counted = trained(trials)
    assert set(counted.values()) == {1}  # counted once
    ended = Counter(line[1:4] for line in read_log(folder.with_suffix(".log")) if line[0] == "end")
    assert set(ended) == set(counted)
    assert ended.total() - len(counted) <= told["killed"]  # at most the one that was running
