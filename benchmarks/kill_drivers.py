"""How a search survives: drivers and workers killed at random moments, many times.

Run: python benchmarks/kill_drivers.py --kills 500 --seeds 1,2,3
Each seed is a search of 20 trials in a folder of its own, whose driver is killed (SIGKILL) up to so
many times, at moments drawn from the seed, and is then finished. It must hold the trials that an
uninterrupted search holds, in the same order, with every training counted once. Minutes on a CPU.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from cmt_search.search import RunDir, TrialRecord, read_trials, run_search

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.search.killing import SPACE  # noqa: E402
from tests.search.lookup import LookupFactory, trained  # noqa: E402


def main() -> None:
    """Kill, finish, compare; exits with 1 where a search differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=500)
    parser.add_argument("--seeds", default="1,2,3")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        whole = RunDir.create(Path(place) / "whole", space_yaml="", fingerprint="f00d")
        run_search(whole, SPACE, LookupFactory(raises=3), executor="inline", retries=0)
        expected = compared(read_trials(whole.path))
        for seed in options.seeds.split(","):
            folder = Path(place) / seed
            told = kill(folder, kills=options.kills, seed=seed)
            trials = read_trials(folder)
            same = compared(trials) == expected
            twice = sum(count > 1 for count in trained(trials).values())
            print(json.dumps({"seed": int(seed), **told, "same": same, "counted_twice": twice}))
            if not same or twice:
                sys.exit(1)


def kill(folder: Path, *, kills: int, seed: str) -> dict[str, object]:
    """What the harness of the tests says."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.search.killing", str(folder), str(kills), seed],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    told: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return told


def compared(trials: tuple[TrialRecord, ...]) -> list[tuple[object, ...]]:
    """What was asked for, in order, and what became of it."""
    return [(t.number, t.name, t.params, t.replicate, t.state, t.values, t.reason) for t in trials]


if __name__ == "__main__":
    main()
