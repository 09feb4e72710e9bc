"""Gaussian process over the triangle of shares, with hyperparameters integrated out."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import block_diag, solve_triangular
from scipy.linalg.lapack import dpstrf

from cmt_search.stats.equivalence import simplex_grid
from cmt_search.stats.noise import relative_noise
from cmt_search.stats.response import Design, level_at, reduced

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


Ints = NDArray[np.int_]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Conditional:
    """The model given length and ratio, before any outcome."""

    basis: Basis
    ratio: float  # tau / sigma
    precision: Floats  # (n,) D^-1
    member: Floats  # (B, n) one where the network belongs to the budget
    centre: Floats  # (B, p) the columns' mean under D^-1
    values: Floats  # (p,) eigenvalues
    vectors: Floats  # (p, p)
    project: Floats  # (p, n) from networks' means to moments along the eigenvectors

    @property
    def total(self) -> Floats:
        """D^-1 summed over each budget. Shape: (B,)."""
        return self.member @ self.precision

    def levels(self, mean: Floats) -> Floats:
        """Budgets' means under D^-1. Shape: (n, R) to (B, R)."""
        result: Floats = (self.member * self.precision @ mean) / self.total[:, None]
        return result

    def log_likelihood(self, mean: Floats, *, noise: Floats, scale: Floats) -> Floats:
        """Of pairs of sigma and scale (M,), up to a common constant. Shape: (n, R) to (M, R)."""
        gamma = (scale / noise)[:, None] ** 2
        total = self.precision @ (mean - self.member.T @ self.levels(mean)) ** 2
        explained = (gamma / (1 + gamma * self.values)) @ (self.project @ mean) ** 2
        free = len(self.precision) - len(self.member)
        log_det = (
            np.log(self.total).sum()
            - np.log(self.precision).sum()
            + np.log1p(gamma * self.values).sum(axis=1)
            + 2 * free * np.log(noise)
        )
        result: Floats = -0.5 * (log_det[:, None] + (total - explained) / noise[:, None] ** 2)
        return result

    def draw(
        self,
        mean: Floats,
        *,
        study: Ints,
        noise: Floats,
        scale: Floats,
        rng: np.random.Generator,
    ) -> tuple[Floats, Floats]:
        """Draw weights and levels, one row for each of `study` (N,), columns of `mean` (n, R).

        Shape: (N, p) and (N, B).
        """
        gamma = (scale / noise)[:, None] ** 2
        shrunk = 1 + gamma * self.values
        along = (self.project @ mean).T[study] * gamma / shrunk
        along += scale[:, None] / np.sqrt(shrunk) * rng.standard_normal(shrunk.shape)
        weights = along @ self.vectors.T
        levels = self.levels(mean).T[study] - weights @ self.centre.T
        levels += noise[:, None] / np.sqrt(self.total) * rng.standard_normal(levels.shape)
        return weights, levels


def conditionals(
    design: Design, *, basis: Basis, ratios: Sequence[float], relative: Floats
) -> tuple[Conditional, ...]:
    """Factorise for one length and each ratio; `relative` is rho (B,)."""
    columns = basis.columns(design.shares, u=design.u)
    return tuple(
        _factorised(design, basis=basis, columns=columns, ratio=ratio, relative=relative)
        for ratio in ratios
    )


def _factorised(
    design: Design, *, basis: Basis, columns: Floats, ratio: float, relative: Floats
) -> Conditional:
    precision = 1 / (ratio**2 + relative[design.level] ** 2 / design.count)
    member = np.eye(len(design.budgets))[:, design.level]
    centre = (member * precision @ columns) / (member @ precision)[:, None]
    off = (columns - member.T @ centre) * np.sqrt(precision)[:, None]
    values, vectors = np.linalg.eigh(off.T @ off)
    return Conditional(
        basis=basis,
        ratio=ratio,
        precision=precision,
        member=member,
        centre=centre,
        values=np.maximum(values, 0.0),
        vectors=vectors,
        project=(off @ vectors).T * np.sqrt(precision),
    )


_LENGTH, _NOISE, _LATTICE = 1.0, 0.01, 0.003  # medians
_LENGTHS = (0.25, 0.5, 1.0, 2.0, 4.0)
_RATIOS = tuple(2.0**k for k in range(-5, 9))  # lattice over noise
_SCALES = np.geomspace(0.004, 0.12, 8)
_NOISE_RANGE = np.geomspace(1e-4, 0.3, 500)
_NOISE_NODES = np.linspace(-4.5, 4.5, 11)  # SDs; wide, for studies simulated from this one


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Draws:
    """Joint draws of one study or of several, one after the other."""

    noise: Floats  # (N,)
    lattice: Floats  # (N,)
    length: Floats  # (N,)
    levels: Floats  # (N, B) accuracy at the centroid of each budget
    parts: tuple[tuple[Basis, Ints, Floats], ...]  # a basis, the rows that use it, their weights

    def effect(self, shares: Floats, *, u: Floats | float) -> Floats:
        """Accuracy relative to the centroid at the same u. Shape: (n, 3) to (N, n)."""
        result = np.empty((len(self.noise), len(shares)))
        for functions, rows, weights in self.parts:
            result[rows] = weights @ functions.columns(shares, u=u).T
        return result

    def derivatives(self) -> Floats:
        """At the base: v, then A (dd, ww, rr, dw, dr, wr). Shape: (N, 9)."""
        result = np.empty((len(self.noise), 9))
        for functions, rows, weights in self.parts:
            result[rows] = weights @ functions.derivatives()
        return result


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Mixture:
    """The model of a design, summed over nodes; it serves every outcome of the design."""

    design: Design
    relative: Floats  # (B,) rho
    models: tuple[Conditional, ...]  # by length and ratio
    noise: Floats  # (M,) sigma, in pairs with
    scale: Floats  # (M,)

    def masses(self, mean: Floats, *, within: Floats) -> Floats:
        """Posterior of the nodes, outcomes as columns. Shape: (n, R), (B, R) to (models, M, R)."""
        repeats = _log_repeats(
            self.noise, design=self.design, relative=self.relative, within=within
        )
        log_mass = np.stack(
            [
                model.log_likelihood(mean, noise=self.noise, scale=self.scale)
                + (repeats + self._log_prior(model)[:, None])
                for model in self.models
            ]
        )
        mass = np.exp(log_mass - log_mass.max(axis=(0, 1)))
        result: Floats = mass / mass.sum(axis=(0, 1))
        return result

    def _log_prior(self, model: Conditional) -> Floats:
        tau = model.ratio * self.noise
        length = np.log2(model.basis.length / _LENGTH)
        prior: Floats = np.log(tau) - np.log1p((tau / _LATTICE) ** 2) - 0.5 * length**2
        return prior

    def sample(
        self, mean: Floats, *, within: Floats, draws: int, rng: np.random.Generator
    ) -> Draws:
        """`draws` for each outcome, outcomes as columns."""
        cell = _choose(self.masses(mean, within=within), draws=draws, rng=rng)
        which, pair = np.divmod(cell, len(self.noise))
        noise, scale = self.noise[pair], self.scale[pair]
        levels = np.empty((len(cell), len(self.design.budgets)))
        parts = []
        for i in np.unique(which):
            model, rows = self.models[i], np.flatnonzero(which == i)
            weights, levels[rows] = model.draw(
                mean, study=rows // draws, noise=noise[rows], scale=scale[rows], rng=rng
            )
            parts.append((model.basis, rows, weights))
        return Draws(
            noise=noise,
            lattice=noise * np.array([model.ratio for model in self.models])[which],
            length=np.array([model.basis.length for model in self.models])[which],
            levels=levels,
            parts=_by_basis(parts),
        )


def mixture(design: Design, *, within: Floats, relative: Floats) -> Mixture:
    """Factorise a design for all nodes; `within` (B,) places those of the noise."""
    u = (design.growths / design.growths[-1]).tolist()
    log_noise = np.log(_NOISE_RANGE)
    repeats = _log_repeats(_NOISE_RANGE, design=design, relative=relative, within=within[:, None])
    mass = np.exp(repeats - repeats.max())[:, 0]
    middle = float(np.average(log_noise, weights=mass))
    spread = float(np.sqrt(np.average((log_noise - middle) ** 2, weights=mass)))
    noise, scale = np.meshgrid(np.exp(middle + spread * _NOISE_NODES), _SCALES)
    return Mixture(
        design=design,
        relative=relative,
        models=tuple(
            model
            for length in _LENGTHS
            for model in conditionals(
                design, basis=basis(length=length, u=u), ratios=_RATIOS, relative=relative
            )
        ),
        noise=noise.ravel(),
        scale=scale.ravel(),
    )


def _choose(masses: Floats, *, draws: int, rng: np.random.Generator) -> Ints:
    """Indices of nodes, `draws` for each column, one column after the other."""
    flat = masses.reshape(-1, masses.shape[-1])
    below = np.cumsum(flat, axis=0)
    uniform = rng.random((flat.shape[1], draws)) * below[-1][:, None]
    chosen = [
        np.searchsorted(column, at, side="right")
        for column, at in zip(below.T, uniform, strict=True)
    ]
    return np.concatenate(chosen)


def _by_basis(
    parts: Sequence[tuple[Basis, Ints, Floats]],
) -> tuple[tuple[Basis, Ints, Floats], ...]:
    """Join the parts that share a basis, so that it is evaluated once."""
    joined = []
    for length in dict.fromkeys(functions.length for functions, _, _ in parts):
        same = [part for part in parts if part[0].length == length]
        rows, weights = (np.concatenate([part[i] for part in same]) for i in (1, 2))
        joined.append((same[0][0], rows, weights))
    return tuple(joined)


def _log_repeats(noise: Floats, *, design: Design, relative: Floats, within: Floats) -> Floats:
    """Prior of sigma and likelihood of the squares between seeds. Shape: (M,), (B, R) to (M, R)."""
    squares = relative**-2 @ within
    prior = -0.5 * np.log(noise / _NOISE) ** 2 - design.freedom.sum() * np.log(noise)
    result: Floats = prior[:, None] - 0.5 * squares / noise[:, None] ** 2
    return result


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Process:
    """Joint posterior draws of the process; a `Response`."""

    model: Mixture
    posterior: Draws

    @property
    def budgets(self) -> Floats:
        """MACs, ascending. Shape: (B,)."""
        return self.model.design.budgets

    @property
    def growths(self) -> Floats:
        """Mean L of each budget's networks. Shape: (B,)."""
        return self.model.design.growths

    @property
    def levels(self) -> Floats:
        """Accuracy at the centroid of each budget. Shape: (S, B)."""
        return self.posterior.levels

    @property
    def first(self) -> Floats:
        """v, top1 at the largest budget. Shape: (S, 3)."""
        return self.posterior.derivatives()[:, :3]

    @property
    def second(self) -> Floats:
        """A of v.x + x'Ax + ..., likewise: dd, ww, rr, dw, dr, wr. Shape: (S, 6)."""
        return self.posterior.derivatives()[:, 3:]

    @property
    def noise(self) -> Floats:
        """SD between seeds, pooled over budgets. Shape: (S,)."""
        return self.posterior.noise

    @property
    def relative_noise(self) -> Floats:
        """SD between seeds of each budget over the pooled one. Shape: (B,)."""
        return self.model.relative

    @property
    def lattice(self) -> Floats:
        """SD of networks around the response. Shape: (S,)."""
        return self.posterior.lattice

    @property
    def length(self) -> Floats:
        """Of the kernel in x. Shape: (S,)."""
        return self.posterior.length

    @property
    def networks(self) -> int:
        """Distinct networks fitted."""
        return len(self.model.design.count)

    def effect(self, shares: ArrayLike, *, growth: float | None = None) -> Floats:
        """Draws of accuracy relative to the centroid; `growth` L defaults to the largest budget.

        Shape: shares (n, 3) or (3,); result (S, n).
        """
        u = 1.0 if growth is None else growth / float(self.growths[-1])
        return self.posterior.effect(np.atleast_2d(np.asarray(shares, float)), u=u)

    def draws(self, shares: ArrayLike, *, growth: float) -> Floats:
        """Draws of the accuracy of rules at `growth` L within the budgets measured.

        Shape: shares (n, 3) or (3,); result (S, n).

        Raises:
            AnalysisError: `growth` lies outside the measured budgets.
        """
        level = level_at(self.levels, growths=self.growths, growth=growth)
        return level + self.effect(shares, growth=growth)


def fit_process(
    accuracy: ArrayLike,
    *,
    shares: ArrayLike,
    growth: ArrayLike,
    budget: ArrayLike,
    network: Sequence[Hashable],
    seed: int,
    draws: int = 4000,
) -> Process:
    """Fit the process to measurements, one row each; rows of one `network` are repeats.

    Shape: accuracy, growth, budget (N,); shares (N, 3), realised.
    Units: accuracy in 0..1; growth is ln(MACs / base MACs); budget in MACs.

    Raises:
        AnalysisError: too few distinct networks, or a network no larger than the base.
    """
    design, outcome = reduced(
        accuracy, shares=shares, growth=growth, budget=budget, network=network
    )
    relative = relative_noise(outcome.within, freedom=design.freedom)
    model = mixture(design, within=outcome.within, relative=relative)
    posterior = model.sample(
        outcome.mean[:, None],
        within=outcome.within[:, None],
        draws=draws,
        rng=np.random.default_rng(seed),
    )
    return Process(model=model, posterior=posterior)
