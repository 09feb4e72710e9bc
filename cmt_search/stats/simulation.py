"""Simulated studies: the power of a design, and the coverage of the equivalence set.

For coverage, each study has the networks, repeats, noise and nugget of the fit, and as truth either
a posterior draw (the posterior mean would be too flat) or the null: no rule differs. Coverage is
the probability that the set holds the truth's best rule; under the null, a rule drawn at random.
Where either is below 90%, the margin is raised to the 90% quantile, over the studies, of the margin
that the best rule requires. The noise of the budgets relative to each other is taken as known.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from cmt_search.stats.equivalence import (
    DETECTABLE_STANDARD_ERRORS,
    SMALLEST_EFFECT,
    required_margin,
    rms_standard_error,
    simplex_grid,
)
from cmt_search.stats.gp import GaussianProcess, fit_gaussian_process
from cmt_search.stats.noise import Floats, Ints

SEEDS = (1, 2, 4, 8, 16, 32, 64)  # tried, in this order
NOMINAL = 0.90
_LEVEL = 0.5  # accuracy of every network; only differences matter
_GRID = 12  # steps along a side of the triangle
_SPREAD = 0.02  # SD of the simulated truths' gains and curvature, top1 at the largest budget
_DRAWS = 600  # per simulated study
_BATCH = 20  # studies held in memory


def predict_standard_error(
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
) -> float:
    """Predict the standard error of contrasts to the paper's rule, in top1.

    Studies in which rules differ are simulated, and fitted as real ones are. Rows are the trainings
    of the design; each is repeated with `seeds` seeds.

    Shape: shares (N, 3), realised; log_macs_ratio, budget (N,); paper (3,).
    Units: log_macs_ratio is ln(MACs / base MACs); budget in MACs; seed_sd in top1.

    Raises:
        AnalysisError: too few networks to fit the process.
    """
    rng = np.random.default_rng(seed)
    realised, growth, macs = (
        np.repeat(np.asarray(column, float), seeds, axis=0)
        for column in (shares, log_macs_ratio, budget)
    )
    labels = [name for name in network for _ in range(seeds)]
    rules = simplex_grid(_GRID)
    x = (growth / growth.max())[:, None] * (realised - 1 / 3)
    errors = []
    for study in range(n_simulations):
        gains, curvature = _SPREAD * rng.standard_normal(3), _SPREAD * rng.standard_normal((3, 3))
        truth = x @ gains + np.sum(x @ curvature * x, axis=1)
        process = fit_gaussian_process(
            _LEVEL + truth + seed_sd * rng.standard_normal(len(labels)),
            shares=realised,
            log_macs_ratio=growth,
            budget=macs,
            network=labels,
            seed=study,
            draws=1000,
        )
        errors.append(rms_standard_error(process.effect(rules) - process.effect(paper)))
    return float(np.mean(errors))


def sufficient_seeds(errors: Mapping[int, float], *, difference: float) -> int | None:
    """Return the fewest seeds that detect a difference of top1, by their standard errors."""
    detectable = {seeds: DETECTABLE_STANDARD_ERRORS * error for seeds, error in errors.items()}
    return min((seeds for seeds in detectable if detectable[seeds] <= difference), default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """Simulated coverage of the equivalence set with the calibrated margin."""

    fit: float  # truth: a posterior draw
    null: float  # truth: no rule differs
    margin: float  # calibrated, top1
    n_simulations: int  # per truth

    @property
    def widened(self) -> bool:
        """Whether the margin had to be raised."""
        return self.margin > SMALLEST_EFFECT


def simulate_coverage(
    process: GaussianProcess, *, rules: ArrayLike, seed: int, n_simulations: int = 200
) -> Coverage:
    """Simulate studies from the fit and under the null, and fit each as this one was.

    Shape: rules (G, 3), the feasible ones.
    """
    rng = np.random.default_rng(seed)
    shares = np.asarray(rules, float)
    design, posterior_size = process.model.design, len(process.noise)
    row = rng.choice(posterior_size, size=n_simulations, replace=n_simulations > posterior_size)
    truth = process.effect(design.shares, log_macs_ratio=design.log_macs_ratio)[row]
    best = process.effect(shares)[row].argmax(axis=1)
    required = _required_margins(process, truth=truth, row=row, rules=shares, rng=rng)
    fit = required[np.arange(n_simulations), best]
    null = _required_margins(process, truth=0 * truth, row=row, rules=shares, rng=rng).ravel()
    quantiles = (float(np.quantile(one, NOMINAL, method="higher")) for one in (fit, null))
    margin = max(SMALLEST_EFFECT, *quantiles)
    return Coverage(
        fit=float(np.mean(fit <= margin)),
        null=float(np.mean(null <= margin)),
        margin=margin,
        n_simulations=n_simulations,
    )


def _required_margins(
    process: GaussianProcess, *, truth: Floats, row: Ints, rules: Floats, rng: np.random.Generator
) -> Floats:
    """Fit studies simulated around each truth (R, n) with the noise of posterior draws `row` (R,).

    Shape: rules (G, 3); result (R, G).
    """
    mean, within = simulate_outcomes(process, truth=truth, row=row, rng=rng)
    margins = []
    for start in range(0, len(row), _BATCH):
        batch = slice(start, start + _BATCH)
        draws = process.model.sample(mean[:, batch], within=within[:, batch], draws=_DRAWS, rng=rng)
        effect = draws.effect(rules).reshape(-1, _DRAWS, len(rules))
        margins += [required_margin(study) for study in effect]
    return np.stack(margins)


def simulate_outcomes(
    process: GaussianProcess, *, truth: Floats, row: Ints, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """Draw networks' means (n, R) and sums of squares within networks (B, R)."""
    design = process.model.design
    seed_sd = process.noise[row] * process.model.relative_noise[:, None]  # (B, R)
    sd = np.hypot(seed_sd[design.level] / np.sqrt(design.count)[:, None], process.nugget[row])
    mean = truth.T + sd * rng.standard_normal(sd.shape)
    squares = rng.chisquare(np.maximum(design.dof, 1)[:, None], size=seed_sd.shape)
    return mean, seed_sd**2 * np.where(design.dof[:, None] > 0, squares, 0.0)
