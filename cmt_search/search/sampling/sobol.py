"""Space-filling points: the Sobol sequence and the grid."""

import math
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import chain, islice, zip_longest

import numpy as np
from numpy.typing import NDArray

from cmt_search.errors import ArchError, BudgetError
from cmt_search.search.sampling.design import DesignPoint
from cmt_search.search.types import Space
from cmt_search.space.candidates import SAMPLERS, Candidate, Parameter

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
    counted = space.analytic_only()
    group = next((p for p in space.parameters() if p.group), None)
    if group is None:
        return tuple(point for point, _ in stratified_networks(counted, count=wanted))
    values = (int(group.low) + i for i in range(group.steps or 1))
    turns = (_feasible(counted, group, value=value, most=wanted) for value in values)
    points = (p for p in chain.from_iterable(zip_longest(*turns)) if p is not None)
    return tuple(islice(points, wanted))


def sobol_params(
    parameters: Sequence[Parameter], *, index: int, seed: int
) -> dict[str, float | int]:
    """Return the parameters of one point of the sequence."""
    row = _sobol(len(parameters), seed=seed, exponent=max(6, (index + 1).bit_length()))[index]
    return {p.name: p.at(float(u)) for p, u in zip(parameters, row, strict=True)}


def grid_params(
    parameters: Sequence[Parameter], *, index: int, seed: int
) -> dict[str, float | int]:
    """Return the parameters of one point of the shuffled grid."""
    place, params = int(_shuffled(grid_size(parameters), seed=seed)[index]), {}
    for parameter in parameters:
        place, step = divmod(place, parameter.steps or 1)
        value = parameter.low + step * (parameter.step or 1)
        params[parameter.name] = round(value) if parameter.integer else value
    return params


def grid_size(parameters: Sequence[Parameter]) -> int:
    """Return the number of points of the grid, all of whose parameters have steps."""
    return math.prod(p.steps or 1 for p in parameters)


def has_networks(space: Space, params: dict[str, float | int]) -> bool:
    """Return whether a point is feasible, as far as is known without measuring its networks."""
    return _point(space.analytic_only(), params, index=0) is not None


def _feasible(space: Space, group: Parameter, *, value: int, most: int) -> Iterator[DesignPoint]:
    """Yield feasible Sobol points of one group, from a limited number of draws."""
    others = [p for p in space.parameters() if not p.group]
    for i in range(_DRAWS * most):
        params = {group.name: value, **sobol_params(others, index=i, seed=space.seed)}
        if (point := _point(space, params, index=i)) is not None:
            yield point[0]


def stratified_networks(space: Space, *, count: int) -> list[tuple[DesignPoint, Candidate]]:
    """Return the first Sobol point of each stratum between the smallest and the largest MACs."""
    parameters = space.parameters()
    distinct: dict[str, tuple[DesignPoint, Candidate]] = {}
    for i in range(2 ** math.ceil(math.log2(_DRAWS * count))):
        params = sobol_params(parameters, index=i, seed=space.seed)
        if (point := _point(space, params, index=i)) is not None:
            distinct.setdefault(point[1].rungs[-1].arch.key, point)
    sizes = [math.log(candidate.rungs[-1].macs) for _, candidate in distinct.values()]
    low, high = min(sizes, default=0.0), max(sizes, default=0.0)
    strata: dict[int, tuple[DesignPoint, Candidate]] = {}
    for network, size in zip(distinct.values(), sizes, strict=True):
        stratum = int((size - low) / ((high - low) or 1) * count)
        strata.setdefault(min(stratum, count - 1), network)
    return list(strata.values())


def _point(
    space: Space, params: dict[str, float | int], *, index: int
) -> tuple[DesignPoint, Candidate] | None:
    """Return a point of the sequence with its candidate, if it is feasible."""
    point = DesignPoint(name=f"sobol {index}", params=params)
    try:
        return point, space.candidate(params, point.name)
    except (ArchError, BudgetError):
        return None


@lru_cache(maxsize=8)
def _sobol(dimensions: int, *, seed: int, exponent: int) -> NDArray[np.float64]:
    from scipy.stats import qmc

    points: NDArray[np.float64] = qmc.Sobol(dimensions, rng=seed).random_base2(exponent)
    return points


@lru_cache(maxsize=2)
def _shuffled(size: int, *, seed: int) -> NDArray[np.int64]:
    return np.random.default_rng(seed).permutation(size)
