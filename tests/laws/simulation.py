"""Studies drawn from a known truth, as plain arrays."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from cmt_search.laws import Surface, fit_surface, simplex_grid

Floats = NDArray[np.float64]
Truth = Callable[[Floats, float], float]

PAPER = np.array([0.17, 0.52, 0.31])
LARGEST = float(np.log(12))


def flat(shares: Floats, growth: float) -> float:
    """No rule differs."""
    return 0.6 + 0.05 * growth


def peak(shares: Floats, growth: float) -> float:
    """Best at (0.6, 0.2, 0.2)."""
    bowl = float(np.sum((shares - np.array([0.6, 0.2, 0.2])) ** 2))
    return flat(shares, growth) - 0.1 * (growth / LARGEST) ** 2 * bowl


def slope(shares: Floats, growth: float) -> float:
    """Only the first-order gain of width counts."""
    return flat(shares, growth) + 0.04 * growth / LARGEST * float(shares[1])


def simulate(
    truth: Truth,
    *,
    noise: float,
    lattice: float,
    seed: int,
    seeds: int = 2,
    order: int = 3,
    budgets: Sequence[float] = (3.0, 6.0, 12.0),
) -> Surface:
    """Draw a study around `truth` and fit it."""
    rng = np.random.default_rng(seed)
    asked = np.vstack([simplex_grid(order), PAPER])
    rows: list[tuple[float, Floats, float, float, str]] = []
    for budget in budgets:
        for i, point in enumerate(asked):
            real = point + rng.normal(0, 0.015, 3)
            real /= real.sum()
            level = truth(real, float(np.log(budget))) + rng.normal(0, lattice)
            for value in level + rng.normal(0, noise, seeds):
                rows.append((value, real, float(np.log(budget)), budget, f"{i} at {budget}"))
    accuracy, shares, growth, budget_of, network = zip(*rows, strict=True)
    return fit_surface(
        accuracy,
        shares=shares,
        growth=growth,
        budget=budget_of,
        network=network,
        seed=seed,
        draws=1500,
    )
