"""Accuracy as a quadratic over the triangle of shares, jointly over budgets.

To second order around the base, with x = L s, L = ln(M/M0) and s the realised shares,

    accuracy of network n at budget b, seed k  =  c_b + v.x + x'Ax + lattice_n + noise_nk.

Shares sum to one, so every constant hides in `c_b`: two contrasts of `v` and five of `A` are free.
The terms are centred on the centroid, and all nine of them carry one exchangeable prior, so that no
dimension is favoured; this is Scheffe's quadratic mixture polynomial, its squares written out.

L is divided by that of the largest budget: coefficients are top1 there. Priors, all proper:
    v_i, A_ij ~ N(0, scale^2)    scale log-uniform over 1 to 30 points: learnt, so that rules which
                                 do not differ are shrunk together, yet never below one point,
                                 so that the prior alone cannot resolve 0.3 points
    noise (seeds)                log-normal around 1 point, a factor e per SD
    lattice (what rounding and   half-Cauchy, 0.3 points
    the polynomial leave over)
Given scale, noise and lattice the regression is conjugate; these three are summed over a grid,
refined once where the mass is. Repeated seeds inform the noise by their sum of squares. Validation
images are shared by all networks: intervals say nothing about other images.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cmt_search.stats.response import Design, level_at, reduced

Floats = NDArray[np.float64]

_LEVEL_SD = 1.0  # of the budgets' levels, top1: flat
_GRID = ((0.01, 0.3), (1e-4, 0.2), (1e-4, 0.1))  # scale, noise, lattice; top1
_STEPS = ((7, 15, 9), (10, 20, 12))  # first pass, refined pass


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Surface:
    """Joint posterior draws of the surface."""

    budgets: Floats  # (B,) MACs, ascending
    growths: Floats  # (B,) mean L of each budget's networks
    levels: Floats  # (S, B) accuracy at the centroid of each budget
    first: Floats  # (S, 3) v, top1 at the largest budget
    second: Floats  # (S, 6) A, likewise
    noise: Floats  # (S,) SD between seeds
    lattice: Floats  # (S,) SD of networks around the surface
    networks: int  # distinct networks fitted

    def effect(self, shares: ArrayLike, *, growth: float | None = None) -> Floats:
        """Draws of accuracy relative to the centroid; `growth` L defaults to the largest budget.

        Shape: shares (n, 3) or (3,); result (S, n).
        """
        u = np.asarray(1.0 if growth is None else growth / self.growths[-1])
        return np.hstack([self.first, self.second]) @ _terms(np.atleast_2d(shares), u=u).T

    def draws(self, shares: ArrayLike, *, growth: float) -> Floats:
        """Draws of the accuracy of rules at `growth` L within the budgets measured.

        Shape: shares (n, 3) or (3,); result (S, n).

        Raises:
            AnalysisError: `growth` lies outside the measured budgets.
        """
        level = level_at(self.levels, growths=self.growths, growth=growth)
        return level + self.effect(shares, growth=growth)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Data:
    """One row per network: sufficient for the model, with the squares within networks."""

    design: Floats  # (n, p)
    mean: Floats  # (n,) accuracy less the grand mean
    count: Floats  # (n,) measurements
    within: float
    dof: int
    levels: int  # B


def fit_surface(
    accuracy: ArrayLike,
    *,
    shares: ArrayLike,
    growth: ArrayLike,
    budget: ArrayLike,
    network: Sequence[Hashable],
    seed: int,
    draws: int = 4000,
) -> Surface:
    """Fit the surface to measurements, one row each; rows of one `network` are repeats.

    Shape: accuracy, growth, budget (N,); shares (N, 3), realised.
    Units: accuracy in 0..1; growth is ln(MACs / base MACs); budget in MACs.

    Raises:
        AnalysisError: too few distinct networks, or a network no larger than the base.
    """
    design, outcome = reduced(
        accuracy, shares=shares, growth=growth, budget=budget, network=network
    )
    centre = float(np.average(outcome.mean, weights=design.count))
    data = _data(design, mean=outcome.mean - centre, within=float(outcome.within.sum()))
    cells, beta = _sample(data, draws=draws, rng=np.random.default_rng(seed))
    levels, gains, curvature = np.split(beta, [data.levels, data.levels + 3], axis=1)
    return Surface(
        budgets=design.budgets,
        growths=design.growths,
        levels=levels + centre,
        first=gains,
        second=curvature,
        noise=cells[:, 1],
        lattice=cells[:, 2],
        networks=len(outcome.mean),
    )


def _data(design: Design, *, mean: Floats, within: float) -> _Data:
    levels = len(design.budgets)
    return _Data(
        design=np.hstack([np.eye(levels)[design.level], _terms(design.shares, u=design.u)]),
        mean=mean,
        count=design.count,
        within=within,
        dof=int(design.freedom.sum()),
        levels=levels,
    )


def _terms(shares: Floats, *, u: Floats) -> Floats:
    """Columns of v and A: shares (n, 3) at relative growth u (n,) or () give (n, 9)."""
    d, w, r = np.asarray(shares, float).T
    first = np.stack([d, w, r], axis=1) - 1 / 3
    # Off-diagonal entries of A count twice, so one prior on its entries suits all six.
    squares = np.stack([d * d, w * w, r * r, 2 * d * w, 2 * d * r, 2 * w * r], axis=1)
    second = squares - np.array([1, 1, 1, 2, 2, 2]) / 9
    scale = np.broadcast_to(u, d.shape)[:, None]
    return np.hstack([scale * first, scale**2 * second])


def _sample(data: _Data, *, draws: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Draws of (scale, noise, lattice) and of the coefficients given them."""
    axes = [np.geomspace(*ends, steps) for ends, steps in zip(_GRID, _STEPS[0], strict=True)]
    mass = _cells(data, axes)[0]
    axes = [
        _refined(axis, mass=mass.sum(axis=tuple({0, 1, 2} - {i})), steps=steps)
        for i, (axis, steps) in enumerate(zip(axes, _STEPS[1], strict=True))
    ]
    mass, mean, factor = _cells(data, axes)
    cell = rng.choice(mass.size, size=draws, p=mass.ravel())
    normal = rng.standard_normal((draws, mean.shape[1], 1))
    # factor is L of A = L L', the precision: L'^-1 z has covariance A^-1.
    noise = np.linalg.solve(factor[cell].transpose(0, 2, 1), normal)[:, :, 0]
    grid = np.stack([g.ravel() for g in np.meshgrid(*axes, indexing="ij")], axis=1)
    return grid[cell], mean[cell] + noise


def _refined(axis: Floats, *, mass: Floats, steps: int) -> Floats:
    kept = np.flatnonzero(mass > 1e-3 * mass.max())
    low, high = max(kept[0] - 1, 0), min(kept[-1] + 1, len(axis) - 1)
    return np.geomspace(axis[low], axis[high], steps)


def _cells(data: _Data, axes: list[Floats]) -> tuple[Floats, Floats, Floats]:
    """Posterior mass of each grid cell, and the coefficients' mean and precision factor in it."""
    shape = tuple(len(axis) for axis in axes)
    scale, noise, lattice = (g.reshape(-1, 1) for g in np.meshgrid(*axes, indexing="ij"))
    n, p = data.design.shape
    variance = lattice**2 + noise**2 / data.count  # (C, n)
    prior = np.hstack(
        [np.full((scale.size, data.levels), _LEVEL_SD**2), np.repeat(scale**2, p - data.levels, 1)]
    )
    outer = (data.design[:, :, None] * data.design[:, None, :]).reshape(n, p * p)
    precision = (1 / variance @ outer).reshape(-1, p, p)
    precision[:, np.arange(p), np.arange(p)] += 1 / prior
    moment = (data.mean / variance) @ data.design
    factor = np.linalg.cholesky(precision).astype(float)
    mean = np.linalg.solve(precision, moment[:, :, None])[:, :, 0].astype(float)
    log_det = 2 * np.log(np.diagonal(factor, axis1=1, axis2=2)).sum(axis=1)
    fit = (data.mean**2 / variance).sum(axis=1) - (moment * mean).sum(axis=1)
    log_mass = -0.5 * (
        fit + log_det + np.log(prior).sum(axis=1) + np.log(variance).sum(axis=1)
    ) + _log_prior(data, noise=noise[:, 0], lattice=lattice[:, 0])
    mass: Floats = np.exp(log_mass - log_mass.max())
    return (mass / mass.sum()).reshape(shape), mean, factor


def _log_prior(data: _Data, *, noise: Floats, lattice: Floats) -> Floats:
    """Of a cell, in log coordinates, with the likelihood of the squares between seeds."""
    between_seeds = -data.dof * np.log(noise) - 0.5 * data.within / noise**2
    noise_prior = -0.5 * np.log(noise / 0.01) ** 2
    lattice_prior = np.log(lattice) - np.log1p((lattice / 0.003) ** 2)
    result: Floats = between_seeds + noise_prior + lattice_prior
    return result
