"""Faults on a cluster: `python -m tests.search.injecting FOLDER FAULTS SEED`.

FAULTS is a word such as `dwndwd`: at random moments while the search makes progress, the driver
(d) or a worker (w) gets SIGKILL, or a node (n) goes, with its workers, and another one comes.
Prints what was injected, and what the last driver said.
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

from cmt_search.search import RunDir
from tests.search.clusters import NODES, ROOT, add_node, cluster_here
from tests.search.lookup import read_log

WAIT = 0.25  # seconds of a job
LONGEST = 0.8  # seconds from a job's end to the fault
PATIENCE = 120.0  # seconds without a job's end


@dataclass(kw_only=True)
class Faults:
    """A search on a cluster, and who disturbs it."""

    folder: Path
    trials: int
    cluster: Any
    chance: random.Random
    driver: subprocess.Popen[str] | None = None
    injected: dict[str, int] = field(default_factory=lambda: {"d": 0, "w": 0, "n": 0})

    @property
    def log(self) -> Path:
        return self.folder.with_suffix(".log")

    def start(self) -> subprocess.Popen[str]:
        """A driver on the head node."""
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

    def inject(self, fault: str) -> bool:
        """One fault, once a job has ended since the last; whether the search still ran."""
        self.driver = self.driver or self.start()
        before, deadline = self.ended(), time.monotonic() + PATIENCE
        while self.ended() == before and self.driver.poll() is None:
            assert time.monotonic() < deadline, "the search got nowhere"
            time.sleep(0.02)
        time.sleep(self.chance.uniform(0, LONGEST))
        if self.driver.poll() is not None:
            return False
        {"d": self._driver, "w": self._worker, "n": self._node}[fault]()
        self.injected[fault] += 1
        return True

    def _driver(self) -> None:
        assert self.driver is not None
        self.driver.send_signal(signal.SIGKILL)
        self.driver.communicate()
        self.driver = None
        assert RunDir.open(self.folder).driver() is None, "a dead driver holds the lock"

    def _worker(self) -> None:
        begun = [line[4] for line in read_log(self.log) if line[0] == "begin"]
        with suppress(ProcessLookupError):  # it may have ended with its job
            os.kill(self.chance.choice(begun[-NODES:]), signal.SIGKILL)

    def _node(self) -> None:
        nodes = [node for node in self.cluster.list_all_nodes() if not node.head]
        self.cluster.remove_node(self.chance.choice(nodes), allow_graceful=False)
        add_node(self.cluster)

    def finish(self) -> str:
        """Let the search come to its end."""
        driver = self.driver or self.start()
        out, err = driver.communicate(timeout=600)
        assert driver.returncode == 0, err
        return out


def main(folder: str, faults: str, seed: str) -> None:
    """Inject them, one after the other, and let the search finish."""
    with cluster_here() as cluster:
        search = Faults(
            folder=Path(folder),
            trials=6 + 6 * len(faults),
            cluster=cluster,
            chance=random.Random(int(seed)),
        )
        for fault in faults:
            if not search.inject(fault):
                break
        print(json.dumps({"injected": search.injected, "said": search.finish()}))


if __name__ == "__main__":
    main(*sys.argv[1:])
