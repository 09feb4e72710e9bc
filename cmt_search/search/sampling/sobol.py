"""Space-filling points: the Sobol sequence and the grid."""

import math
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import chain, islice, zip_longest

import numpy as np
from numpy.typing import NDArray

from cmt_search.errors import ArchError, BudgetError
from cmt_search.search.sampling.design import DesignPoint
from cmt_search.search.types import Space
from cmt_search.space.candidates import SAMPLERS, Candidate, Parameter, Params

_DRAWS = 16  # per network wanted, of a free search: enough to fill every group of MACs
_OF_EACH_BUDGET = 8  # shapes; the quadratic of a power law needs 7


def n_initial_points(space: Space) -> int:
    """Return the number of Sobol points that a Pareto or shape search measures first."""
    if space.kind not in ("shape", "pareto") or not SAMPLERS[space.sampler.name].learns:
        return 0
    if space.sampler.initial_points is not None:
        return space.sampler.initial_points
    parameters = space.parameters()
    groups = [p.steps or 1 for p in parameters if p.group]
    return _OF_EACH_BUDGET * groups[0] if groups else 2 * len(parameters) + 4


def initial_points(space: Space, *, count: int | None = None) -> tuple[DesignPoint, ...]:
    """Return the first trials of a search whose sampler learns, or `count` such points.

    All are feasible, as far as that is known without measuring. Shapes alternate between the
    budgets; Pareto networks are stratified by MACs, in the order of the sequence.
    """
    wanted = n_initial_points(space) if count is None else count
    if not wanted:
        return ()
    groups = group_params(space.parameters())
    if groups == [{}]:
        return tuple(point for point, _ in stratified_networks(space, count=wanted))
    indices = range(_DRAWS * wanted)
    networks = (feasible_networks(space, fixed=fixed, indices=indices) for fixed in groups)
    turns = chain.from_iterable(zip_longest(*networks))
    return tuple(islice((network[0] for network in turns if network is not None), wanted))


def stratified_networks(space: Space, *, count: int) -> list[tuple[DesignPoint, Candidate]]:
    """Return the first Sobol point of each stratum between the smallest and the largest MACs."""
    indices = range(2 ** math.ceil(math.log2(_DRAWS * count)))
    distinct: dict[str, tuple[DesignPoint, Candidate]] = {}
    for point, candidate in feasible_networks(space, fixed={}, indices=indices):
        distinct.setdefault(candidate.rungs[-1].arch.key, (point, candidate))
    sizes = [math.log(candidate.rungs[-1].macs) for _, candidate in distinct.values()]
    low, high = min(sizes, default=0.0), max(sizes, default=0.0)
    strata: dict[int, tuple[DesignPoint, Candidate]] = {}
    for network, size in zip(distinct.values(), sizes, strict=True):
        stratum = int((size - low) / ((high - low) or 1) * count)
        strata.setdefault(min(stratum, count - 1), network)
    return list(strata.values())


def feasible_networks(
    space: Space, *, fixed: Params, indices: Iterable[int]
) -> Iterator[tuple[DesignPoint, Candidate]]:
    """Yield the feasible points of the sequence, as far as known without measuring.

    `fixed` holds the parameters of a group.
    """
    space = space.analytic_only()
    for index in indices:
        point = sobol_point(space, fixed=fixed, index=index)
        try:
            yield point, space.candidate(point.params, point.name)
        except (ArchError, BudgetError):
            continue


def sobol_point(space: Space, *, fixed: Params, index: int) -> DesignPoint:
    """Return a point of the sequence; `fixed` holds the parameters of a group."""
    parameters = [p for p in space.parameters() if p.name not in fixed]
    exponent = max(6, (index + 1).bit_length())
    row = _sobol(len(parameters), seed=space.seed, exponent=exponent)[index]
    sampled = {p.name: p.at(float(u)) for p, u in zip(parameters, row, strict=True)}
    return DesignPoint(name=f"sobol {index}", params={**fixed, **sampled})


def grid_params(
    parameters: Sequence[Parameter], *, index: int, seed: int
) -> dict[str, float | int]:
    """Return the parameters of one point of the shuffled grid."""
    sizes = [p.steps or 1 for p in parameters]
    steps = np.unravel_index(_shuffled(grid_size(parameters), seed=seed)[index], sizes, order="F")
    values = (p.low + int(step) * (p.step or 1) for p, step in zip(parameters, steps, strict=True))
    return {
        p.name: round(value) if p.integer else value
        for p, value in zip(parameters, values, strict=True)
    }


def grid_size(parameters: Sequence[Parameter]) -> int:
    """Return the number of points of the grid; all parameters have steps."""
    return math.prod(p.steps or 1 for p in parameters)


def group_params(parameters: Sequence[Parameter]) -> list[dict[str, float | int]]:
    """Return the parameters that the trials of each group have in common."""
    grouping = next((p for p in parameters if p.group), None)
    if grouping is None:
        return [{}]
    return [{grouping.name: int(grouping.low) + i} for i in range(grouping.steps or 1)]


@lru_cache(maxsize=8)
def _sobol(dimensions: int, *, seed: int, exponent: int) -> NDArray[np.float64]:
    from scipy.stats import qmc

    points: NDArray[np.float64] = qmc.Sobol(dimensions, rng=seed).random_base2(exponent)
    return points


@lru_cache(maxsize=2)
def _shuffled(size: int, *, seed: int) -> NDArray[np.int64]:
    return np.random.default_rng(seed).permutation(size)
