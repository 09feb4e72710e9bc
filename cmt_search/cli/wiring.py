"""From files to objects: a run's space, its evaluator, its analysis."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cmt_search.dataset_spec import DatasetSpec
from cmt_search.errors import SpaceError
from cmt_search.recipe import Recipe
from cmt_search.search import RunDir, read_trials
from cmt_search.space import SearchSpace, load_space

if TYPE_CHECKING:
    from cmt_search.analysis import Analysis, BaseContext
    from cmt_search.arch import Arch
    from cmt_search.evaluation import EvaluatorFactory
    from cmt_search.proxy import ProxyEvaluator


def space_of(run: RunDir) -> SearchSpace:
    """The space that a run searches."""
    return load_space(run.space)


def check_trainable(space: SearchSpace, *, file: Path) -> None:
    """Refuse, before anything is made, a space whose networks cannot learn from its images.

    Raises:
        SpaceError: channels or classes differ, or the split is the test split.
    """
    dataset = space.proxy.dataset
    for name in ("in_chans", "num_classes"):
        given, wanted = getattr(space.arch, name), getattr(dataset, name)
        if wanted is not None and given != wanted:
            raise SpaceError(
                f"{file}: base.{name}: is {given}, but {dataset.name} has {wanted}; "
                f"set base.{name}: {wanted}"
            )
    if dataset.split != "validation":
        raise SpaceError(
            f"{file}: proxy.dataset.split: the test split is held out for `cmt-search confirm`; "
            "remove the key"
        )


def factory_of(space: SearchSpace, *, device: str | None) -> "EvaluatorFactory":
    """What makes a worker's evaluator; the driver itself needs no torch."""
    return partial(make_evaluator, space.proxy.dataset, recipe=space.proxy.recipe, device=device)


def make_evaluator(dataset: DatasetSpec, *, recipe: Recipe, device: str | None) -> "ProxyEvaluator":
    """The evaluator of the process that calls."""
    from cmt_search.proxy import ProxyEvaluator

    return ProxyEvaluator(dataset, recipe=recipe, device=device)


N_SIMULATIONS = 200  # per truth, where a verdict is published


def analysis_of(
    path: Path, *, n_simulations: int = 0, laws: bool = False, storage: str | None = None
) -> "Analysis":
    """The study of a run, analysed; `n_simulations` as in `analyse`, scaling laws with `laws`.

    Raises:
        RunError: there is no run, or no study yet.
    """
    from threadpoolctl import threadpool_limits

    from cmt_search.analysis import analyse
    from cmt_search.cost import cost

    space = space_of(RunDir.open(path))
    records = read_trials(path, storage=storage)
    if space.kind == "shape":
        macs = cost(space.arch).macs if laws else None
        with threadpool_limits(limits=1, user_api="blas"):
            return analyse(records, base_macs=macs, seed=space.seed, shapes=True)
    if space.kind != "rule":
        two = len(space.objectives) == 2
        metrics = (space.objectives[1], space.objectives[0]) if two else ("macs", "top1")
        return analyse(records, seed=space.seed, metrics=metrics)
    named = space.named_shares()

    def sides(shares: NDArray[np.float64]) -> NDArray[np.float64]:
        return space.sides_at(space.budget_macs[-1], shares=shares)

    # Matrices this small only wait for each other on more threads, on a busy machine for minutes.
    with threadpool_limits(limits=1, user_api="blas"):
        return analyse(
            records,
            base_macs=cost(space.arch).macs,
            paper=named["cmt-paper"],
            named=named,
            n_simulations=n_simulations,
            native_resolution=space.proxy.dataset.native_resolution,
            sides=sides,
            seed=space.seed,
            base=base_context(space) if laws else None,
        )


def base_context(space: SearchSpace) -> "BaseContext":
    """The base's exponents, and the space's networks of its MACs."""
    from cmt_search.analysis import BaseContext
    from cmt_search.cost import cost
    from cmt_search.errors import BudgetError
    from cmt_search.scaling import Budget
    from cmt_search.scaling.solver import solve

    base = space.arch
    rule = space.rule(space.named_shares()["cmt-paper"])

    def solve_at(x: tuple[float, float, float]) -> "Arch | None":
        # Caps are meant for members, which are larger; a cap on latency would need measuring.
        budget = Budget(macs=cost(base).macs, tolerance=space.tolerance)
        try:
            found = solve(rule.smooth, x=np.array(x), budget=budget, grid=space.grid).arch
        except BudgetError:
            return None
        return found if found.key != base.key else None

    return BaseContext(exponents=rule.exponents, solve_at=solve_at)
