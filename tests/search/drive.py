"""A driver to be killed: `python -m tests.search.drive FOLDER EXECUTOR LOG WAIT`."""

import sys
from pathlib import Path

from cmt_search.search import RunFolder, run_search
from tests.search.lookup import FakeSampler, FakeSpace, LookupFactory

SPACE = FakeSpace(seeds=2, trials=12, sampler=FakeSampler(name="tpe", lattice=1, replicates=1))


def main(folder: str, executor: str, log: str, wait: str) -> None:
    """Begin the run, or go on with it."""
    path = Path(folder)
    run = (
        RunFolder.open(path)
        if (path / "run.json").exists()
        else RunFolder.create(path, space_yaml="", fingerprint=SPACE.fingerprint)
    )
    factory = LookupFactory(log=Path(log), wait=float(wait))
    slots = 2 if executor == "ray" else 1
    outcome = run_search(run, SPACE, factory, executor=executor, slots=slots)  # type: ignore[arg-type]
    print(outcome.stopped, outcome.jobs, outcome.complete)


if __name__ == "__main__":
    main(*sys.argv[1:])
