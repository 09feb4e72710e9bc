"""Drivers killed at random moments: `python -m tests.search.killing FOLDER KILLS SEED`.

The process imports everything once and forks its drivers, so that a kill costs milliseconds. A
kill counts if it ended a driver that had begun a training. After each, what the study holds is
compared to the log of trainings: `Kill` states what must be true.
"""

import json
import os
import random
import signal
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from cmt_search.errors import RunError
from cmt_search.search import read_trials, run_search
from tests.search.lookup import (
    FakeSampler,
    FakeSpace,
    Line,
    LookupFactory,
    Training,
    open_run,
    read_log,
    trained,
)

SPACE = FakeSpace(
    trials=20,
    seeds=2,
    reduction_factor=3,
    epochs=(1, 2, 4),
    grid=6,  # some twins
    infeasible_above=0.8,
    sampler=FakeSampler(name="tpe", lattice=2, replicates=2),
)
LONGEST = 0.06  # seconds from a driver's first training to its end


@dataclass(frozen=True, kw_only=True)
class Kill:
    """The state just after a kill."""

    begun: int  # lines of the log when the driver began
    lines: int  # lines of the log when it was killed
    recorded: Counter[Training]  # trainings in the study

    @classmethod
    def look(cls, folder: Path, log: Path, *, begun: int) -> "Kill":
        try:
            recorded = trained(read_trials(folder))
        except RunError:  # killed before the study was created
            recorded = Counter()
        return cls(begun=begun, lines=len(read_log(log)), recorded=recorded)

    def check(self, lines: list[Line], final: Counter[Training]) -> None:
        """What was recorded at the kill is in the final study, once, and was not trained again."""
        assert set(self.recorded.values()) <= {1}, "counted twice"
        assert self.recorded <= final, "a recorded training was lost"
        again = {line[1:4] for line in lines[self.lines :] if line[0] == "begin"}
        assert not again & set(self.recorded), "a recorded training was repeated"

    def unrecorded(self, lines: list[Line]) -> set[Training]:
        """Trainings that the driver ended and did not record."""
        return ended(lines[self.begun : self.lines]).keys() - self.recorded.keys()


def ended(lines: list[Line]) -> Counter[Training]:
    return Counter(line[1:4] for line in lines if line[0] == "end")


def session(folder: Path, log: Path | None) -> str:
    """Start the run, or resume it."""
    run = open_run(folder)
    factory = LookupFactory(log=log, wait=0.001, raises=3)
    return run_search(run, SPACE, factory, executor="inline", retries=0).stopped


def main(folder: str, kills: str, seed: str) -> None:
    """Kill drivers until so many were killed, or the run is finished; check all kills."""
    chance, done = random.Random(int(seed)), list[Kill]()
    path, log = Path(folder), Path(folder).with_suffix(".log")
    while len(done) < int(kills):
        before = len(read_log(log))
        child = os.fork()
        if child == 0:
            code = 1
            try:
                code = 0 if session(path, log) == "finished" else 3
            finally:
                os._exit(code)
        while len(read_log(log)) == before and os.waitpid(child, os.WNOHANG) == (0, 0):
            time.sleep(0.002)
        time.sleep(chance.uniform(0, LONGEST))
        try:
            os.kill(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
        except (ProcessLookupError, ChildProcessError):  # it ended before its first training
            break
        if os.WIFEXITED(status):
            assert os.WEXITSTATUS(status) == 0, f"a driver failed: {status}"
            break
        done.append(Kill.look(path, log, begun=before))
    stopped = session(path, log)
    lines, final = read_log(log), trained(read_trials(path))
    for kill in done:
        kill.check(lines, final)
    # One more training for each that a kill hit between its end and its record; no other.
    repeats = Counter(training for kill in done for training in kill.unrecorded(lines))
    assert ended(lines) == final + repeats
    print(json.dumps({"killed": len(done), "repeated": repeats.total(), "stopped": stopped}))


if __name__ == "__main__":
    main(*sys.argv[1:])
