"""Covariance of effects over the triangle of shares, and a finite basis for it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import block_diag, solve_triangular
from scipy.linalg.lapack import dpstrf

from cmt_search.stats.equivalence import simplex_grid
from cmt_search.stats.noise import Floats

BEYOND = 1.35  # largest u of the anchors: twice the MACs of a largest budget of 8x the base
_FIRST = np.sqrt(6.0)  # |s - 1/3|^2 has the mean 1/6
_TOLERANCE = 4e-4  # variance left out at any anchor candidate, relative to the effects'
_ORDER = 8  # of the simplex lattices from which anchors are chosen
_CENTROID = np.full((1, 3), 1 / 3)


@dataclass(frozen=True, slots=True, kw_only=True)
class Basis:
    """Functions whose weighted sum is an effect; the weights are independent a priori."""

    length: float  # of the kernel
    anchors: Floats  # (p, 3)
    factor: Floats  # (p, p) Cholesky factor of the anchors' covariance

    def columns(self, shares: Floats, *, u: Floats | float) -> Floats:
        """Evaluate relative to the centroid at the same u: three of first order, then the rest.

        Shape: shares (n, 3), u (n,) or a number; result (n, 3 + p).
        """
        at = np.broadcast_to(np.asarray(u, float), len(shares))[:, None]
        first = _FIRST * at * (shares - _CENTROID)
        return np.hstack([first, self._kernels(at * shares) - self._kernels(at * _CENTROID)])

    def derivatives(self) -> Floats:
        """Differentiate at the base: v and A (dd, ww, rr, dw, dr, wr) of v.x + x'Ax + ...

        Shape: (3 + p, 9).
        """
        z, decay = self.anchors, np.exp(-np.sum(self.anchors**2, axis=1) / (2 * self.length**2))
        pairs = z[:, [0, 1, 2, 0, 0, 1]] * z[:, [0, 1, 2, 1, 2, 2]]
        second = decay[:, None] * pairs / (2 * self.length**4)
        second = solve_triangular(self.factor, second, lower=True, check_finite=False)
        result: Floats = block_diag(_FIRST * np.eye(3), second)
        return result

    def _kernels(self, x: Floats) -> Floats:
        cross = covariance(self.anchors, x, length=self.length)
        result: Floats = solve_triangular(self.factor, cross, lower=True, check_finite=False).T
        return result


def build_basis(*, length: float, u: Sequence[float]) -> Basis:
    """Build a basis that is accurate at relative growths `u`, and up to `BEYOND`.

    Source: pivoted Cholesky factorisation (LAPACK dpstrf) of a dense lattice's covariance.
    """
    lattice = simplex_grid(_ORDER)
    points = np.vstack([at * lattice for at in (*u, BEYOND)])
    raw = covariance(points, points, length=length)
    # Effects grow at least as u^2, and the tolerance is relative to that.
    weight = np.repeat(np.power((*u, BEYOND), -2.0), len(lattice))
    variance = _mean_variance(length)
    _, pivots, rank, _ = dpstrf(raw * np.outer(weight, weight), tol=_TOLERANCE * variance, lower=1)
    chosen = pivots[:rank] - 1
    factor = np.linalg.cholesky(raw[np.ix_(chosen, chosen)] * variance)
    return Basis(length=length, anchors=points[chosen], factor=factor.astype(float))


def covariance(x: Floats, other: Floats, *, length: float) -> Floats:
    """Return the unscaled covariance: squared exponential, without value and slope at zero.

    Shape: (n, 3), (m, 3) to (n, m).
    """
    t = x @ other.T / length**2
    square = np.sum(x**2, axis=1)[:, None] + np.sum(other**2, axis=1)
    result: Floats = np.exp(-square / (2 * length**2)) * (np.expm1(t) - t)
    return result


def _mean_variance(length: float) -> float:
    """Return the effects' mean variance over the triangle at the largest budget."""
    lattice = simplex_grid(_ORDER)
    cross = covariance(lattice, _CENTROID, length=length).mean()
    middle = covariance(_CENTROID, _CENTROID, length=length)[0, 0]
    own = covariance(lattice, lattice, length=length).trace() / len(lattice)
    return float(own - 2 * cross + middle)
