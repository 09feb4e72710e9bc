"""Power analysis of a design."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from cmt_search.stats.equivalence import (
    DETECTABLE_STANDARD_ERRORS,
    rms_standard_error,
    simplex_grid,
)
from cmt_search.stats.gp import fit_gaussian_process

SEEDS = (1, 2, 4, 8, 16, 32, 64)  # tried, in this order
_LEVEL = 0.5  # accuracy of every network; only differences matter
_GRID = 12  # steps along a side of the triangle
_SPREAD = 0.02  # SD of the simulated truths' gains and curvature, top1 at the largest budget


@dataclass(frozen=True, slots=True, kw_only=True)
class Power:
    """Predicted precision of a design with a number of seeds per network."""

    seeds: int
    error: float  # standard error of contrasts to the paper's rule, top1

    @property
    def detectable(self) -> float:
        """Difference found with power 80% by a two-sided 5% test, top1."""
        return DETECTABLE_STANDARD_ERRORS * self.error


def predict_power(
    *,
    shares: ArrayLike,
    log_macs_ratio: ArrayLike,
    budget: ArrayLike,
    network: Sequence[Hashable],
    paper: ArrayLike,
    seed_sd: float,
    seeds: int,
    seed: int,
    n_simulations: int = 2,
) -> Power:
    """Simulate studies in which rules differ, and fit them as real ones are.

    Rows are the trainings of the design; each is repeated with `seeds` seeds.

    Shape: shares (N, 3), realised; log_macs_ratio, budget (N,); paper (3,).
    Units: log_macs_ratio is ln(MACs / base MACs); budget in MACs; seed_sd in top1.

    Raises:
        AnalysisError: too few networks to fit the process.
    """
    rng = np.random.default_rng(seed)
    rows = [
        np.repeat(np.asarray(column, float), seeds, axis=0) for column in (log_macs_ratio, budget)
    ]
    realised = np.repeat(np.asarray(shares, float), seeds, axis=0)
    labels = [name for name in network for _ in range(seeds)]
    rules = simplex_grid(_GRID)
    x = (rows[0] / rows[0].max())[:, None] * (realised - 1 / 3)
    errors = []
    for study in range(n_simulations):
        gains, curvature = _SPREAD * rng.standard_normal(3), _SPREAD * rng.standard_normal((3, 3))
        truth = x @ gains + np.sum(x @ curvature * x, axis=1)
        process = fit_gaussian_process(
            _LEVEL + truth + seed_sd * rng.standard_normal(len(labels)),
            shares=realised,
            log_macs_ratio=rows[0],
            budget=rows[1],
            network=labels,
            seed=study,
            draws=1000,
        )
        errors.append(rms_standard_error(process.effect(rules) - process.effect(paper)))
    return Power(seeds=seeds, error=float(np.mean(errors)))


def sufficient_seeds(powers: Sequence[Power], *, difference: float) -> int | None:
    """Return the fewest seeds among `powers` that detect a difference of top1; None: none does."""
    return min((one.seeds for one in powers if one.detectable <= difference), default=None)
