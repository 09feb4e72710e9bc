"""What a design can find out before anything is trained: its power."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cmt_search.stats.equivalence import DETECTABLE_STANDARD_ERRORS, simplex_grid, typical_error
from cmt_search.stats.gp import fit_process

Floats = NDArray[np.float64]

SEEDS = (1, 2, 4, 8, 16, 32, 64)  # tried, in this order
_LEVEL = 0.5  # accuracy of every network; only differences matter
_GRID = 12  # steps along a side of the triangle
_SPREAD = 0.02  # SD of the simulated truths' gains and curvature, top1 at the largest budget


@dataclass(frozen=True, slots=True, kw_only=True)
class Power:
    """What a design can tell apart, with some number of seeds for every network."""

    seeds: int
    error: float  # predicted standard error of contrasts to the paper's rule, top1

    @property
    def detectable(self) -> float:
        """Difference found with power 80% by a two-sided 5% test, top1."""
        return DETECTABLE_STANDARD_ERRORS * self.error


def planned_power(
    *,
    shares: ArrayLike,
    growth: ArrayLike,
    budget: ArrayLike,
    network: Sequence[Hashable],
    paper: ArrayLike,
    seed_sd: float,
    seeds: int,
    seed: int,
    studies: int = 2,
) -> Power:
    """Simulate studies in which rules differ by some points, and fit them as real ones would be.

    Rows are the trainings of the design; each is repeated with `seeds` seeds.

    Shape: shares (N, 3), realised; growth, budget (N,); paper (3,).
    Units: growth is ln(MACs / base MACs); budget in MACs; seed_sd in top1.
    Raises:
        AnalysisError: the design holds too few networks for a surface.
    """
    rng = np.random.default_rng(seed)
    rows = [np.repeat(np.asarray(column, float), seeds, axis=0) for column in (growth, budget)]
    realised = np.repeat(np.asarray(shares, float), seeds, axis=0)
    labels = [name for name in network for _ in range(seeds)]
    rules = simplex_grid(_GRID)
    u, centred = (rows[0] / rows[0].max())[:, None], realised - 1 / 3
    errors = []
    for study in range(studies):
        gains, curvature = _SPREAD * rng.standard_normal(3), _SPREAD * rng.standard_normal((3, 3))
        truth = ((u * centred) @ gains) + np.sum((u * centred) @ curvature * (u * centred), axis=1)
        response = fit_process(
            _LEVEL + truth + seed_sd * rng.standard_normal(len(labels)),
            shares=realised,
            growth=rows[0],
            budget=rows[1],
            network=labels,
            seed=study,
            draws=1000,
        )
        errors.append(typical_error(response.effect(rules) - response.effect(paper)))
    return Power(seeds=seeds, error=float(np.mean(errors)))


def seeds_for(powers: Sequence[Power], *, difference: float) -> int | None:
    """The fewest seeds among `powers` that find a difference of top1; None: none does."""
    enough = [one.seeds for one in powers if one.detectable <= difference]
    return min(enough, default=None)
