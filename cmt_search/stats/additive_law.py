"""A parametric law of shape: error = E + sum_i A_i exp(-a_i c_i), a sum of power laws.

c_i = e_i ln x_i is what dimension i contributed to growth in ln MACs, so each term is A_i x_i^(-a_i
e_i). Allocation under sum c_i = L: the gradient a_i A_i exp(-a_i c_i) is one number lambda for all,
    c_i = (ln(a_i A_i) - ln lambda) / a_i,    ln lambda = (sum ln(a_i A_i) / a_i - L) / sum 1 / a_i,
hence shares dc_i/dL = (1 / a_i) / sum 1 / a_j, at every budget: the dimension whose term falls most
slowly gets the most. From the base, where c = 0 need not be optimal, shares are c_i / L.
"""

from dataclasses import dataclass
from functools import partial
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares, nnls

Floats = NDArray[np.float64]

POWERS = (0.01, 5.0)  # range of a_i; a fit that ends at an end of it has not found one
_GRID = (0.1, 0.4, 1.2)  # of the starts, in each dimension
_STARTS = 3
_EDGE = 0.02  # in ln a_i: nearer to an end than this counts as at it
_HUBER = 1.345  # standard deviations: 95% efficient on Gaussian noise
_ENOUGH = 1e-5  # relative progress; in the long valleys of noise more of it changes no share
_LEAST_SCALE = 1e-5  # of the residuals; noiseless data have none


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AdditiveLaw:
    """The law's parameters, of one fit or of many. Shape: floor (...,), the others (..., 3)."""

    floor: Floats  # E
    scales: Floats  # A_i, the errors that the dimensions cause at the base
    powers: Floats  # a_i, per unit of ln MACs

    @classmethod
    def of(cls, theta: Floats) -> "AdditiveLaw":
        """From what `fit_additive` gives, (..., 7)."""
        return cls(
            floor=theta[..., 0], scales=np.exp(theta[..., 1:4]), powers=np.exp(theta[..., 4:])
        )

    @property
    def shares(self) -> Floats:
        """Local shares of the best allocation. Shape: (..., 3)."""
        result: Floats = 1 / self.powers / (1 / self.powers).sum(axis=-1, keepdims=True)
        return result

    @property
    def at_end(self) -> NDArray[np.bool_]:
        """Whether a power lies at the end of its range, or a term has vanished. Shape: (...)."""
        low, high = np.log(POWERS)
        log_power = np.log(self.powers)
        ended = (log_power < low + _EDGE) | (log_power > high - _EDGE) | (self.scales < 1e-5)
        result: NDArray[np.bool_] = ended.any(axis=-1)
        return result

    def allocation(self, growth: float) -> Floats:
        """The best contributions at growth L in ln MACs. Shape: (..., 3)."""
        pull = np.log(self.powers * self.scales) / self.powers
        spare = growth - pull.sum(axis=-1, keepdims=True)
        result: Floats = pull + self.shares * spare
        return result

    def error(self, parts: Floats) -> Floats:
        """The law at contributions (n, 3), of a single fit. Shape: (n,)."""
        result: Floats = self.floor + np.exp(-self.powers * parts) @ self.scales
        return result


def fit_additive(
    parts: Floats, *, weights: Floats, error: Floats, start: Floats | None = None
) -> Floats:
    """E, ln A_i, ln a_i of least weighted Huber loss on the error itself, not its log.

    Noise of accuracy is about the same for all networks of a study, so logs would only bend it. The
    threshold is 1.345 robust standard deviations of a first fit. Without a `start`, the best few
    of a grid of powers are tried, each with its own best E and A_i >= 0.
    Shape: parts (T, 3); weights, error (T,); result (7,), NaN where no start converged.
    """
    starts = _starts(parts, weights=weights, error=error) if start is None else [start]
    low = np.r_[0.0, np.full(3, -14.0), np.full(3, np.log(POWERS[0]))]
    high = np.r_[max(float(error.min()), 1e-3), np.full(3, 4.0), np.full(3, np.log(POWERS[1]))]
    scale = _LEAST_SCALE + _spread(_residual(starts[0], parts, error))
    best = np.full(7, np.nan)
    least = np.inf
    for first in starts:
        found = least_squares(
            _residual,
            np.clip(first, low + 1e-9, high - 1e-9),
            jac=_jacobian,
            bounds=(low, high),
            loss=partial(_huber, weights),
            f_scale=_HUBER * scale,
            x_scale="jac",
            ftol=_ENOUGH,
            xtol=_ENOUGH,
            gtol=_ENOUGH / 10,
            max_nfev=300,
            args=(parts, error),
        )
        if found.success and found.cost < least:
            best, least = found.x, found.cost
    return best


def _starts(parts: Floats, *, weights: Floats, error: Floats) -> list[Floats]:
    root = np.sqrt(weights)
    found = []
    for powers in product(_GRID, repeat=3):
        columns = np.hstack([np.ones((len(parts), 1)), np.exp(-np.array(powers) * parts)])
        linear, misfit = nnls(columns * root[:, None], error * root)
        theta = np.r_[linear[0], np.log(np.maximum(linear[1:], 1e-4)), np.log(powers)]
        found.append((float(misfit), theta))
    return [theta for _, theta in sorted(found, key=lambda one: one[0])[:_STARTS]]


def _residual(theta: Floats, parts: Floats, error: Floats) -> Floats:
    return AdditiveLaw.of(theta).error(parts) - error


def _jacobian(theta: Floats, parts: Floats, _: Floats) -> Floats:
    terms = np.exp(theta[1:4] - np.exp(theta[4:]) * parts)
    return np.hstack([np.ones((len(parts), 1)), terms, -terms * np.exp(theta[4:]) * parts])


def _huber(weights: Floats, z: Floats) -> Floats:
    """Weighted Huber loss of squares z with its two derivatives, for scipy. Shape: (3, T)."""
    outer = np.maximum(z, 1.0)
    root = np.sqrt(outer)
    rho = np.where(z <= 1, z, 2 * root - 1)
    result: Floats = weights * np.stack([rho, 1 / root, -0.5 * (z > 1) / (outer * root)])
    return result


def _spread(residuals: Floats) -> float:
    """Robust standard deviation."""
    return 1.4826 * float(np.median(np.abs(residuals)))
