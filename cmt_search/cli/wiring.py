"""From files to objects: a run's space, its evaluator, its analysis."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cmt_search.search import RunFolder, read_trials
from cmt_search.space import SearchSpace, load_space

if TYPE_CHECKING:
    from cmt_search.analysis import Analysis
    from cmt_search.evaluation import EvaluatorFactory


def space_of(run: RunFolder) -> SearchSpace:
    """The space that a run searches."""
    return load_space(run.space)


def factory_of(space: SearchSpace, *, device: str | None) -> "EvaluatorFactory":
    """What makes a worker's evaluator."""
    from cmt_search.proxy import evaluator_factory

    return evaluator_factory(space.proxy.dataset, recipe=space.proxy.recipe, device=device)


def analysis_of(path: Path) -> "Analysis":
    """The study of a run, analysed.

    Raises:
        RunError: there is no run, or no study yet.
    """
    from cmt_search.analysis import analyse
    from cmt_search.cost import cost

    space = space_of(RunFolder.open(path))
    records = read_trials(path)
    if space.kind != "rule":
        return analyse(records, seed=space.seed)
    named = space.named_shares()

    def sides(shares: NDArray[np.float64]) -> NDArray[np.float64]:
        return space.sides_at(space.budget_macs[-1], shares=shares)

    return analyse(
        records,
        base_macs=cost(space.arch).macs,
        paper=named["cmt-paper"],
        named=named,
        native_resolution=space.proxy.dataset.native_resolution,
        sides=sides,
        seed=space.seed,
    )
