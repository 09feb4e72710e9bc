"""Drivers killed at random moments: `python -m tests.search.killing FOLDER KILLS SEED`.

The process that is started imports everything once and forks its drivers, so that a kill costs
milliseconds. It prints how often a driver was killed, and how many ended by themselves.
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

from cmt_search.search import RunDir, run_search
from tests.search.lookup import FakeSampler, FakeSpace, LookupFactory

SPACE = FakeSpace(
    trials=20,
    seeds=2,
    reduction_factor=3,
    epochs=(1, 2, 4),
    grid=6,  # some twins
    infeasible_above=0.8,
    sampler=FakeSampler(name="tpe", lattice=2, replicates=2),
)
LONGEST = 0.3  # seconds that a driver lives


def session(folder: Path, log: Path | None) -> str:
    """Begin the run, or go on with it."""
    if (folder / "run.json").exists():
        run = RunDir.open(folder)
    else:
        run = RunDir.create(folder, space_yaml="", fingerprint=SPACE.fingerprint)
    factory = LookupFactory(log=log, wait=0.001, raises=3)
    return run_search(run, SPACE, factory, executor="inline", retries=0).stopped


def main(folder: str, kills: str, seed: str) -> None:
    """Kill drivers until so many were killed, or the run is finished."""
    chance, killed = random.Random(int(seed)), 0
    where, log = Path(folder), Path(folder).with_suffix(".log")
    while killed < int(kills):
        child = os.fork()
        if child == 0:
            code = 1
            try:
                code = 0 if session(where, log) == "finished" else 3
            finally:
                os._exit(code)
        time.sleep(chance.uniform(0, LONGEST))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status):
            assert os.WEXITSTATUS(status) == 0, f"a driver failed: {status}"
            break
        killed += 1
    print(json.dumps({"killed": killed, "stopped": session(where, log)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
