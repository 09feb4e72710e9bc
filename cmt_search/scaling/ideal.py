"""Where a rule puts a network before rounding: the ideal point."""

import math

import numpy as np

from cmt_search.cost.formula import Sizes
from cmt_search.errors import BudgetError
from cmt_search.scaling.smooth import Floats, Groups, SmoothFamily, log_macs

_STEP = 1e-30  # complex step


def ideal_point(family: SmoothFamily, *, shares: Floats, growth: float) -> Floats:
    """Coordinates where rules spend ln-MACs `growth`, by fixed point on path exponents.

    Shape: (..., 3) shares to (..., 3) logs of the factors on depth, width and resolution.
    Raises:
        BudgetError: the iteration does not settle (the base's exponents vanish along the path).
    """
    target = shares * growth
    x: Floats = target / family.exponents_at(np.zeros(3))
    for _ in range(200):
        exponents = family.path_exponents(x)
        if not exponents.min() > 1e-6:  # ever fewer blocks, or narrower ones, save nothing more
            break
        change = target / exponents - x
        if np.max(np.abs(change)) < 1e-12:
            return x
        x = x + 0.8 * change  # exponents grow with x, so the full step would swing around the end
    rules = f"shares {shares.tolist()} reach" if shares.ndim == 1 else "some shares reach"
    raise BudgetError(
        f"{rules} no point at {math.exp(growth):.3g} times the base; "
        "use a budget nearer to the base"
    )


def width_on_budget(v: Floats, *, like: Sizes[int], macs: float, start: float = 0.0) -> Floats:
    """ln of the factor on all widths that meets the budget, by Newton's method on logs.

    Shape: variables (..., n) to (...), within 5 of `start`.
    """
    width = np.zeros(v.shape[-1])
    width[Groups.of(len(like.stages)).width] = 1
    x = np.full(v.shape[:-1], start)
    for _ in range(50):
        grown = log_macs(v + (x[..., None] + 1j * _STEP) * width, like=like)
        change = (grown.real - math.log(macs)) / (grown.imag / _STEP)
        x = np.clip(x - change, start - 5, start + 5)
        if np.max(np.abs(change)) < 1e-10:
            break
    return x
