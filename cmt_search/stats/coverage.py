"""Coverage of the equivalence set in simulated studies of the same design, and the margin it needs.

Each simulated study has the networks, repeats, noise and nugget of the fit, and one of two truths:
    fit     a posterior draw (the posterior mean would be too flat)
    null    no rule differs
Coverage is the probability that the set holds the truth's best rule; under the null, a rule drawn
at random. Where either is below 90%, the margin is raised to the 90% quantile, over the studies, of
the margin that the best rule requires. The noise of the budgets relative to each other is taken as
known.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from cmt_search.stats.equivalence import SMALLEST_EFFECT, required_margin
from cmt_search.stats.gp import GaussianProcess
from cmt_search.stats.noise import Floats, Ints

NOMINAL = 0.90
_DRAWS = 600  # per simulated study
_BATCH = 20  # studies held in memory


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """Simulated coverage of the equivalence set with the calibrated margin."""

    fit: float  # truth: a posterior draw
    null: float  # truth: no rule differs
    margin: float  # calibrated, top1
    initial_margin: float  # before calibration
    n_simulations: int  # per truth

    @property
    def widened(self) -> bool:
        """Whether the margin had to be raised."""
        return self.margin > self.initial_margin


def simulate_coverage(
    process: GaussianProcess,
    *,
    rules: ArrayLike,
    seed: int,
    smallest_effect: float = SMALLEST_EFFECT,
    n_simulations: int = 200,
) -> Coverage:
    """Simulate studies from the fit and under the null, and fit each as this one was.

    Shape: rules (G, 3), the feasible ones.
    """
    rng = np.random.default_rng(seed)
    shares = np.asarray(rules, float)
    posterior_size = len(process.noise)
    row = rng.choice(posterior_size, size=n_simulations, replace=n_simulations > posterior_size)
    design = process.model.design
    truth = process.posterior.effect(design.shares, u=design.u)[row]
    best = process.effect(shares)[row].argmax(axis=1)
    fit = _required_margins(process, truth=truth, row=row, rules=shares, rng=rng)
    null = _required_margins(process, truth=0 * truth, row=row, rules=shares, rng=rng).ravel()
    of_best = fit[np.arange(n_simulations), best]
    margin = max(smallest_effect, _nominal_quantile(of_best), _nominal_quantile(null))
    return Coverage(
        fit=float(np.mean(of_best <= margin)),
        null=float(np.mean(null <= margin)),
        margin=margin,
        initial_margin=smallest_effect,
        n_simulations=n_simulations,
    )


def _nominal_quantile(margins: Floats) -> float:
    return float(np.quantile(margins, NOMINAL, method="higher"))


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
        effect = draws.effect(rules, u=1.0).reshape(-1, _DRAWS, len(rules))
        margins += [required_margin(study) for study in effect]
    return np.stack(margins)


def simulate_outcomes(
    process: GaussianProcess, *, truth: Floats, row: Ints, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """Draw networks' means (n, R) and sums of squares within networks (B, R)."""
    design = process.model.design
    seed_sd = process.noise[row] * process.relative_noise[:, None]  # (B, R)
    sd = np.hypot(seed_sd[design.level] / np.sqrt(design.count)[:, None], process.nugget[row])
    mean = truth.T + sd * rng.standard_normal(sd.shape)
    squares = rng.chisquare(np.maximum(design.dof, 1)[:, None], size=seed_sd.shape)
    return mean, seed_sd**2 * np.where(design.dof[:, None] > 0, squares, 0.0)
