"""Studies drawn from a known truth, as plain arrays."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmt_search.stats import GaussianProcess, fit_gaussian_process, simplex_grid

Floats = NDArray[np.float64]
Truth = Callable[[Floats, float], float]

PAPER = np.array([0.17, 0.52, 0.31])
LARGEST = float(np.log(12))


def flat(shares: Floats, log_macs_ratio: float) -> float:
    """No rule differs."""
    return 0.6 + 0.05 * log_macs_ratio


def peak(shares: Floats, log_macs_ratio: float) -> float:
    """Best at (0.6, 0.2, 0.2)."""
    bowl = float(np.sum((shares - np.array([0.6, 0.2, 0.2])) ** 2))
    return flat(shares, log_macs_ratio) - 0.1 * (log_macs_ratio / LARGEST) ** 2 * bowl


def slope(shares: Floats, log_macs_ratio: float) -> float:
    """Only the first-order gain of width counts."""
    return flat(shares, log_macs_ratio) + 0.04 * log_macs_ratio / LARGEST * float(shares[1])


def measurements(
    truth: Truth,
    *,
    noise: float | Sequence[float],
    nugget: float,
    seed: int,
    seeds: int = 2,
    order: int = 3,
    budgets: Sequence[float] = (3.0, 6.0, 12.0),
) -> dict[str, Any]:
    """Draw a study around `truth`, as keyword arguments of a fit; `noise` may differ by budget."""
    rng = np.random.default_rng(seed)
    asked = np.vstack([simplex_grid(order), PAPER])
    rows: list[tuple[float, Floats, float, float, str]] = []
    for budget, sd in zip(budgets, np.broadcast_to(noise, len(budgets)), strict=True):
        for i, point in enumerate(asked):
            real = point + rng.normal(0, 0.015, 3)
            real /= real.sum()
            level = truth(real, float(np.log(budget))) + rng.normal(0, nugget)
            for value in level + rng.normal(0, sd, seeds):
                rows.append((value, real, float(np.log(budget)), budget, f"{i} at {budget}"))
    names = ("accuracy", "shares", "log_macs_ratio", "budget", "network")
    return {**dict(zip(names, zip(*rows, strict=True), strict=True)), "seed": seed, "draws": 1500}


def simulate_process(
    truth: Truth, *, noise: float | Sequence[float], nugget: float, seed: int, **design: Any
) -> GaussianProcess:
    """Draw a study around `truth` and fit the process."""
    study = measurements(truth, noise=noise, nugget=nugget, seed=seed, **design)
    return fit_gaussian_process(study.pop("accuracy"), **study)
