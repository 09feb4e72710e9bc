"""A driver to be killed: `python -m tests.search.drive FOLDER EXECUTOR LOG WAIT ...`."""

import sys
from pathlib import Path

from cmt_search.search import Event, Stopping, run_search
from tests.search.lookup import FakeSampler, FakeSpace, LookupFactory, open_run

SPACE = FakeSpace(seeds=2, trials=12, sampler=FakeSampler(name="tpe", lattice=1, replicates=1))


RETRIES = 9  # of a job whose worker died; on one machine a chance kill may hit the same one again


def main(
    folder: str, executor: str, log: str, wait: str, trials: str = "0", address: str | None = None
) -> None:
    """Begin the run, or go on with it."""
    path = Path(folder)
    run = open_run(path)
    factory = LookupFactory(log=Path(log), wait=float(wait), keeps=address is not None)
    slots = None if address else 2 if executor == "ray" else 1
    outcome = run_search(
        run,
        SPACE,
        factory,
        executor=executor,  # type: ignore[arg-type]
        slots=slots,
        address=address,
        trials=int(trials) or None,
        retries=RETRIES,
        on_event=tell,
    )
    print(outcome.stopped, outcome.jobs, outcome.complete)


def tell(event: Event) -> None:
    """Say why the search stops."""
    if isinstance(event, Stopping):
        print(event.reason, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
