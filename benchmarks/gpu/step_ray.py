"""The same search through Ray, several trainings sharing the GPU."""

from collections.abc import Iterator

from plan import Context, Row
from step_search import run_search

SHARE = 0.25  # of the GPU, per training


def measure(context: Context) -> Iterator[Row]:
    """Search with Ray: four trainings at a time on a GPU, one on a CPU."""
    options = ["--gpus-per-trial", str(SHARE)] if context.on_gpu else ["--slots", "1"]
    yield from run_search(context, name="ray", options=options)
