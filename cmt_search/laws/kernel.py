"""The prior over the triangle: a Gaussian process in x = u s, u = L over the largest budget's.

A stationary process with covariance exp(-|x - x'|^2 / 2l^2), less its own value and gradient at
the base x = 0, has up to a factor the covariance

    k(x, x') = exp(-(|x|^2 + |x'|^2) / 2l^2) (exp(t) - 1 - t),    t = x.x' / l^2.

What is taken away is the level and the first-order law v.x, which are terms of their own; what
stays is of second order and above. So effects vanish at L = 0, and v is the gradient at the base.
Where l is long the bracket is t^2 / 2, and the process is Scheffe's quadratic with exchangeable
coefficients; l says how soon higher orders matter. No dimension is favoured.

Functions are sums of finitely many kernels, at anchors picked by pivoted Cholesky until what they
leave out has an SD of 2% of the effects' or less on average over the triangle at the budgets (5% at
a third of log compute beyond). Both parts, v.x and the rest, are scaled so that weights of variance
one give effects with a root mean square of one over the triangle at the largest budget.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import block_diag, solve_triangular
from scipy.linalg.lapack import dpstrf

from cmt_search.laws.equivalence import simplex_grid

Floats = NDArray[np.float64]

_FIRST = np.sqrt(6.0)  # |s - 1/3|^2 has the mean 1/6
BEYOND = 1.35  # u up to which anchors reach; from 8x on it is twice the MACs of the largest budget
_LEFT_OUT = 4e-4  # variance, relative to the effects', at any of these points
_ORDER = 8  # of the lattices from which anchors are picked
_CENTROID = np.full((1, 3), 1 / 3)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Basis:
    """Functions of which an effect is a sum, with weights that are independent a priori."""

    length: float  # l
    anchors: Floats  # (p, 3)
    factor: Floats  # (p, p) Cholesky factor of their covariance

    def columns(self, shares: Floats, *, u: Floats | float) -> Floats:
        """Values relative to the centroid at the same u: three of first order, then the rest.

        Shape: shares (n, 3), u (n,) or a number; result (n, 3 + p).
        """
        at = np.broadcast_to(np.asarray(u, float), len(shares))[:, None]
        first = _FIRST * at * (shares - _CENTROID)
        return np.hstack([first, self._kernels(at * shares) - self._kernels(at * _CENTROID)])

    def derivatives(self) -> Floats:
        """At the base, of each function: v, then A (dd, ww, rr, dw, dr, wr) of v.x + x'Ax + ...

        Shape: (3 + p, 9).
        """
        z, fade = self.anchors, np.exp(-np.sum(self.anchors**2, axis=1) / (2 * self.length**2))
        pairs = z[:, [0, 1, 2, 0, 0, 1]] * z[:, [0, 1, 2, 1, 2, 2]]
        second = fade[:, None] * pairs / (2 * self.length**4)
        second = solve_triangular(self.factor, second, lower=True, check_finite=False)
        result: Floats = block_diag(_FIRST * np.eye(3), second)
        return result

    def _kernels(self, x: Floats) -> Floats:
        against = covariance(self.anchors, x, length=self.length)
        result: Floats = solve_triangular(self.factor, against, lower=True, check_finite=False).T
        return result


def basis(*, length: float, u: Sequence[float]) -> Basis:
    """Reduce the process to a basis that is accurate at relative growths `u`, and beyond them."""
    lattice = simplex_grid(_ORDER)
    points = np.vstack([at * lattice for at in (*u, BEYOND)])
    raw = covariance(points, points, length=length)
    # Effects grow as u^2 at least, and what is left out counts relative to that.
    weight = np.repeat(np.power((*u, BEYOND), -2.0), len(lattice))
    spread = _mean_effect(length)
    _, pivots, rank, _ = dpstrf(raw * np.outer(weight, weight), tol=_LEFT_OUT * spread, lower=1)
    chosen = pivots[:rank] - 1
    factor = np.linalg.cholesky(raw[np.ix_(chosen, chosen)] * spread)
    return Basis(length=length, anchors=points[chosen], factor=factor.astype(float))


def covariance(x: Floats, other: Floats, *, length: float) -> Floats:
    """k, not yet scaled. Shape: (n, 3), (m, 3) to (n, m)."""
    t = x @ other.T / length**2
    square = np.sum(x**2, axis=1)[:, None] + np.sum(other**2, axis=1)
    result: Floats = np.exp(-square / (2 * length**2)) * (np.expm1(t) - t)
    return result


def _mean_effect(length: float) -> float:
    """Mean variance over the triangle of k's effects at the largest budget."""
    lattice = simplex_grid(_ORDER)
    both = covariance(lattice, _CENTROID, length=length).mean()
    middle = covariance(_CENTROID, _CENTROID, length=length)[0, 0]
    return float(
        covariance(lattice, lattice, length=length).trace() / len(lattice) - 2 * both + middle
    )
