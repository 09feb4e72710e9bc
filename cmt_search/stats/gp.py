"""Gaussian process over the triangle of shares, jointly over budgets.

With L = ln(MACs / base MACs), u = L over that of the largest budget, s the realised shares and
x = u s, the accuracy of network n at budget b with seed k is

    level_b + v.x + f(x) + nugget_n + noise_nk

where f is a Gaussian process without value and slope at the base (x = 0). Effects are centred on
the centroid of the triangle, so that the budgets' levels are free.

Priors: the kernel's length is log-normal around 1, the scale of v and f uniform over a log grid of
0.4 to 12 percentage points, the noise log-normal around 1 point, the nugget half-Cauchy with 0.3
points. Given these four the model is a linear regression; they are integrated over a grid. Repeats
inform the noise by their sum of squares. Validation images are common to all networks: intervals do
not cover other images.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from cmt_search.errors import AnalysisError
from cmt_search.stats.kernel import Basis, build_basis
from cmt_search.stats.noise import Design, Floats, Ints, reduce_repeats, relative_noise

_LENGTH, _NOISE, _NUGGET = 1.0, 0.01, 0.003  # prior medians
_LENGTHS = (0.25, 0.5, 1.0, 2.0, 4.0)
_RATIOS = tuple(2.0**k for k in range(-5, 9))  # nugget over noise
_SCALES = np.geomspace(0.004, 0.12, 8)
_NOISE_RANGE = np.geomspace(1e-4, 0.3, 500)
_NOISE_NODES = np.linspace(-4.5, 4.5, 11)  # SDs; wide, for studies simulated from this one


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Conditional:
    """The factorised regression, given length and ratio, before any outcome."""

    basis: Basis
    ratio: float  # nugget over noise
    precision: Floats  # (n,) of a network's mean, in units of the noise's
    member: Floats  # (B, n) one where the network belongs to the budget
    centre: Floats  # (B, p) weighted mean of the columns
    values: Floats  # (p,) eigenvalues
    vectors: Floats  # (p, p)
    project: Floats  # (p, n) from networks' means to moments along the eigenvectors

    @property
    def total(self) -> Floats:
        """Precision summed over each budget. Shape: (B,)."""
        return self.member @ self.precision

    def levels(self, mean: Floats) -> Floats:
        """Return the budgets' weighted means. Shape: (n, R) to (B, R)."""
        result: Floats = (self.member * self.precision @ mean) / self.total[:, None]
        return result

    def log_likelihood(self, mean: Floats, *, noise: Floats, scale: Floats) -> Floats:
        """Return that of pairs of noise and scale (M,), up to a constant. (n, R) to (M, R)."""
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
        """Draw weights and levels for each of `study` (N,), columns of `mean` (n, R).

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


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Draws:
    """Joint draws of one study or of several, one after the other."""

    noise: Floats  # (N,)
    nugget: Floats  # (N,)
    levels: Floats  # (N, B) accuracy at the centroid of each budget
    parts: tuple[tuple[Basis, Ints, Floats], ...]  # a basis, the rows that use it, their weights

    def effect(self, shares: Floats, *, u: Floats | float) -> Floats:
        """Return accuracy relative to the centroid at the same u. Shape: (n, 3) to (N, n)."""
        result = np.empty((len(self.noise), len(shares)))
        for functions, rows, weights in self.parts:
            result[rows] = weights @ functions.columns(shares, u=u).T
        return result

    def derivatives(self) -> Floats:
        """Return v and A (dd, ww, rr, dw, dr, wr) at the base. Shape: (N, 9)."""
        result = np.empty((len(self.noise), 9))
        for functions, rows, weights in self.parts:
            result[rows] = weights @ functions.derivatives()
        return result


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Mixture:
    """The model of a design on the grid of hyperparameters, for any outcome of the design."""

    design: Design
    relative: Floats  # (B,) noise of each budget over the pooled one
    models: tuple[Conditional, ...]  # by length and ratio
    noise: Floats  # (M,), in pairs with
    scale: Floats  # (M,)

    def masses(self, mean: Floats, *, within: Floats) -> Floats:
        """Return posterior masses, one column per outcome. (n, R), (B, R) to (models, M, R)."""
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
        nugget = model.ratio * self.noise
        length = np.log2(model.basis.length / _LENGTH)
        prior: Floats = np.log(nugget) - np.log1p((nugget / _NUGGET) ** 2) - 0.5 * length**2
        return prior

    def sample(
        self, mean: Floats, *, within: Floats, draws: int, rng: np.random.Generator
    ) -> Draws:
        """Draw `draws` times for each outcome, one column each."""
        cell = _choose_cells(self.masses(mean, within=within), draws=draws, rng=rng)
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
            nugget=noise * np.array([model.ratio for model in self.models])[which],
            levels=levels,
            parts=_join_by_basis(parts),
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GaussianProcess:
    """Joint posterior draws of accuracy over the triangle and the growth of compute."""

    model: Mixture
    posterior: Draws

    @property
    def budgets(self) -> Floats:
        """MACs, ascending. Shape: (B,)."""
        return self.model.design.budgets

    @property
    def log_macs_ratios(self) -> Floats:
        """Mean L of each budget's networks. Shape: (B,)."""
        return self.model.design.log_macs_ratios

    @property
    def levels(self) -> Floats:
        """Accuracy at the centroid of each budget. Shape: (S, B)."""
        return self.posterior.levels

    @property
    def first(self) -> Floats:
        """First-order gains v, top1 at the largest budget. Shape: (S, 3)."""
        return self.posterior.derivatives()[:, :3]

    @property
    def second(self) -> Floats:
        """Curvature A at the base, likewise: dd, ww, rr, dw, dr, wr. Shape: (S, 6)."""
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
    def nugget(self) -> Floats:
        """SD of networks around the response. Shape: (S,)."""
        return self.posterior.nugget

    @property
    def networks(self) -> int:
        """Distinct networks fitted."""
        return len(self.model.design.count)

    def effect(self, shares: ArrayLike, *, log_macs_ratio: float | None = None) -> Floats:
        """Return draws of accuracy relative to the centroid.

        `log_macs_ratio` L defaults to the largest budget; larger values extrapolate.
        Shape: shares (n, 3) or (3,); result (S, n).
        """
        u = 1.0 if log_macs_ratio is None else log_macs_ratio / float(self.log_macs_ratios[-1])
        return self.posterior.effect(np.atleast_2d(np.asarray(shares, float)), u=u)

    def draws(self, shares: ArrayLike, *, log_macs_ratio: float) -> Floats:
        """Return draws of accuracy at `log_macs_ratio` L within the measured budgets.

        Shape: shares (n, 3) or (3,); result (S, n).

        Raises:
            AnalysisError: `log_macs_ratio` lies outside the measured budgets.
        """
        low, high = self.log_macs_ratios[0], self.log_macs_ratios[-1]
        if not low - 0.02 <= log_macs_ratio <= high + 0.02:
            raise AnalysisError(
                f"log_macs_ratio={log_macs_ratio:.3g} is outside the measured {low:.3g} to "
                f"{high:.3g}; choose a value within it, or measure that budget"
            )
        weights = [
            np.interp(log_macs_ratio, self.log_macs_ratios, unit)
            for unit in np.eye(len(self.log_macs_ratios))
        ]
        return (self.levels @ weights)[:, None] + self.effect(shares, log_macs_ratio=log_macs_ratio)


def fit_gaussian_process(
    accuracy: ArrayLike,
    *,
    shares: ArrayLike,
    log_macs_ratio: ArrayLike,
    budget: ArrayLike,
    network: Sequence[Hashable],
    seed: int,
    draws: int = 4000,
) -> GaussianProcess:
    """Fit the process to measurements, one row each; rows of one `network` are repeats.

    Shape: accuracy, log_macs_ratio, budget (N,); shares (N, 3), realised.
    Units: accuracy in 0..1; log_macs_ratio is ln(MACs / base MACs); budget in MACs.

    Raises:
        AnalysisError: too few distinct networks, or a network no larger than the base.
    """
    design, mean, within = reduce_repeats(
        accuracy, shares=shares, log_macs_ratio=log_macs_ratio, budget=budget, network=network
    )
    model = build_mixture(design, within=within, relative=relative_noise(within, dof=design.dof))
    rng = np.random.default_rng(seed)
    posterior = model.sample(mean[:, None], within=within[:, None], draws=draws, rng=rng)
    return GaussianProcess(model=model, posterior=posterior)


def factorise(
    design: Design, *, basis: Basis, columns: Floats, ratio: float, relative: Floats
) -> Conditional:
    """Factorise the regression on `columns` of the basis, given the ratio of nugget to noise."""
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


def build_mixture(design: Design, *, within: Floats, relative: Floats) -> Mixture:
    """Factorise a design at all nodes; `within` (B,) centres those of the noise."""
    u = (design.log_macs_ratios / design.log_macs_ratios[-1]).tolist()
    log_noise = np.log(_NOISE_RANGE)
    repeats = _log_repeats(_NOISE_RANGE, design=design, relative=relative, within=within[:, None])
    mass = np.exp(repeats - repeats.max())[:, 0]
    middle = float(np.average(log_noise, weights=mass))
    spread = float(np.sqrt(np.average((log_noise - middle) ** 2, weights=mass)))
    noise, scale = np.meshgrid(np.exp(middle + spread * _NOISE_NODES), _SCALES)
    models = []
    for length in _LENGTHS:
        basis = build_basis(length=length, u=u)
        columns = basis.columns(design.shares, u=design.u)
        models += [
            factorise(design, basis=basis, columns=columns, ratio=ratio, relative=relative)
            for ratio in _RATIOS
        ]
    return Mixture(
        design=design,
        relative=relative,
        models=tuple(models),
        noise=noise.ravel(),
        scale=scale.ravel(),
    )


def _choose_cells(masses: Floats, *, draws: int, rng: np.random.Generator) -> Ints:
    """Draw indices of nodes, `draws` for each column, one column after the other."""
    flat = masses.reshape(-1, masses.shape[-1])
    below = np.cumsum(flat, axis=0)
    uniform = rng.random((flat.shape[1], draws)) * below[-1][:, None]
    chosen = [
        np.searchsorted(column, at, side="right")
        for column, at in zip(below.T, uniform, strict=True)
    ]
    return np.concatenate(chosen)


def _join_by_basis(
    parts: Sequence[tuple[Basis, Ints, Floats]],
) -> tuple[tuple[Basis, Ints, Floats], ...]:
    """Join the parts that share a basis, so that it is evaluated once."""
    joined = []
    for length in dict.fromkeys(basis.length for basis, _, _ in parts):
        same = [part for part in parts if part[0].length == length]
        rows, weights = (np.concatenate([part[i] for part in same]) for i in (1, 2))
        joined.append((same[0][0], rows, weights))
    return tuple(joined)


def _log_repeats(noise: Floats, *, design: Design, relative: Floats, within: Floats) -> Floats:
    """Return the noise's log prior and likelihood of the repeats. (M,), (B, R) to (M, R)."""
    squares = relative**-2 @ within
    prior = -0.5 * np.log(noise / _NOISE) ** 2 - design.dof.sum() * np.log(noise)
    result: Floats = prior[:, None] - 0.5 * squares / noise[:, None] ** 2
    return result
