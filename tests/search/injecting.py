"""Faults on a cluster: `python -m tests.search.injecting FOLDER FAULTS SEED`.

FAULTS is a word such as `dwndwd`: at random moments while the search makes progress, the driver
(d) or a worker (w) gets SIGKILL, or a node (n) is removed with its workers and replaced. A fault
counts if it hit something: a driver that ran, or a worker that was training. At each driver's kill
the study is compared to the log of trainings, as in `tests.search.killing`. Prints what was hit.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cmt_search.search import RunDir, read_trials
from tests.search.clusters import ROOT, add_node, cluster_here
from tests.search.killing import Kill
from tests.search.lookup import Training, alive, read_log, trained

WAIT = 0.4  # seconds of a job
LONGEST = 0.8  # seconds from a job's end to the fault
STALLED = 120.0  # seconds without a job's end
TRIES = 5  # of a fault that hits nothing


@dataclass(kw_only=True)
class Faults:
    """A search on a cluster, and the faults that hit it."""

    folder: Path
    trials: int
    cluster: Any
    chance: random.Random
    driver: subprocess.Popen[str] | None = None
    hit: dict[str, int] = field(default_factory=lambda: {"d": 0, "w": 0, "n": 0})
    kills: list[Kill] = field(default_factory=list)
    begun: int = 0  # lines of the log when the driver began

    @property
    def log(self) -> Path:
        return self.folder.with_suffix(".log")

    def start(self) -> subprocess.Popen[str]:
        """A driver on the head node."""
        self.begun = len(read_log(self.log))
        words = [str(self.folder), "ray", str(self.log), str(WAIT)]
        more = [str(self.trials), self.cluster.address]
        return subprocess.Popen(
            [sys.executable, "-m", "tests.search.drive", *words, *more],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def ended(self) -> int:
        return sum(line[0] == "end" for line in read_log(self.log))

    def training(self) -> set[int]:
        """Processes that train now."""
        running: dict[int, Training] = {}
        for what, key, epochs, seed, process in read_log(self.log):
            if what == "begin":
                running[process] = (key, epochs, seed)
            elif what == "end":
                running.pop(process, None)
        return {process for process in running if alive(process)}

    def inject(self, fault: str) -> bool:
        """One fault that hits, after a job has ended; return whether the search still ran."""
        for _ in range(TRIES):
            self.driver = self.driver or self.start()
            before, deadline = self.ended(), time.monotonic() + STALLED
            while self.ended() == before and self.driver.poll() is None:
                assert time.monotonic() < deadline, "the search got nowhere"
                time.sleep(0.02)
            time.sleep(self.chance.uniform(0, LONGEST))
            if self.driver.poll() is not None:
                return False
            if {"d": self._driver, "w": self._worker, "n": self._node}[fault]():
                self.hit[fault] += 1
                return True
        return True

    def _driver(self) -> bool:
        assert self.driver is not None
        self.driver.send_signal(signal.SIGKILL)
        self.driver.communicate()
        hit = self.driver.returncode == -signal.SIGKILL
        self.driver = None
        self.kills.append(Kill.look(self.folder, self.log, begun=self.begun))
        assert RunDir.open(self.folder).driver() is None, "a dead driver holds the lock"
        return hit

    def _worker(self) -> bool:
        training = sorted(self.training())
        if not training:
            return False
        with suppress(ProcessLookupError):
            os.kill(self.chance.choice(training), signal.SIGKILL)
            return True
        return False

    def _node(self) -> bool:
        """Remove a node that trains."""
        parents = {parent(process) for process in self.training()}
        busy = [
            node
            for node in self.cluster.list_all_nodes()
            if not node.head and node.all_processes["raylet"][0].process.pid in parents
        ]
        if not busy:
            return False
        self.cluster.remove_node(self.chance.choice(busy), allow_graceful=False)
        add_node(self.cluster)
        return True

    def finish(self) -> str:
        """Let the search finish, and check what it holds against each kill."""
        driver = self.driver or self.start()
        out, err = driver.communicate(timeout=600)
        assert driver.returncode == 0, err
        lines, final = read_log(self.log), trained(read_trials(self.folder))
        for kill in self.kills:
            kill.check(lines, final)
        assert {line[1:4] for line in lines if line[0] == "end"} == final.keys()
        return out


def parent(process: int) -> int:
    with suppress(OSError):
        return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])
    return 0


def main(folder: str, faults: str, seed: str) -> None:
    """Inject them, one after the other, and let the search finish."""
    with cluster_here() as cluster:
        search = Faults(
            folder=Path(folder),
            trials=10 + 10 * len(faults),
            cluster=cluster,
            chance=random.Random(int(seed)),
        )
        for fault in faults:
            if not search.inject(fault):
                break
        print(json.dumps({"hit": search.hit, "said": search.finish()}))


if __name__ == "__main__":
    main(*sys.argv[1:])
