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
from scipy.special import softmax

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
    total: Floats  # (B,) precision summed over each budget
    centre: Floats  # (B, p) weighted mean of the columns
    values: Floats  # (p,) eigenvalues
    vectors: Floats  # (p, p)
    project: Floats  # (p, n) from networks' means to moments along the eigenvectors

    def levels(self, mean: Floats) -> Floats:
        """Return the budgets' weighted means. Shape: (n, R) to (B, R)."""
        return (self.member * self.precision @ mean) / self.total[:, None]

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
        self, mean: Floats, *, study: Ints, noise: Floats, scale: Floats, rng: np.random.Generator
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
class Mixture:
    """The model of a design on the grid of hyperparameters, for any outcome of the design."""

    design: Design
    relative_noise: Floats  # (B,) of each budget over the pooled one
    bases: tuple[Basis, ...]  # by length
    models: tuple[Conditional, ...]  # by length and ratio
    noise: Floats  # (M,), in pairs with
    scale: Floats  # (M,)

    def masses(self, mean: Floats, *, within: Floats) -> Floats:
        """Return posterior masses, one column per outcome. (n, R), (B, R) to (models, M, R)."""
        repeats = _log_repeats(
            self.noise, design=self.design, relative=self.relative_noise, within=within
        )
        rows = []
        for model in self.models:
            nugget, length = model.ratio * self.noise, np.log2(model.basis.length / _LENGTH)
            prior = np.log(nugget) - np.log1p((nugget / _NUGGET) ** 2) - 0.5 * length**2
            likelihood = model.log_likelihood(mean, noise=self.noise, scale=self.scale)
            rows.append(likelihood + (repeats + prior[:, None]))
        masses: Floats = softmax(np.stack(rows), axis=(0, 1))
        return masses

    def sample(
        self, mean: Floats, *, within: Floats, draws: int, rng: np.random.Generator
    ) -> "GaussianProcess":
        """Draw `draws` times for each outcome, one column each; outcomes one after the other."""
        cell = _choose_cells(self.masses(mean, within=within), draws=draws, rng=rng)
        which, pair = np.divmod(cell, len(self.noise))
        noise, scale = self.noise[pair], self.scale[pair]
        levels = np.empty((len(cell), len(self.design.budgets)))
        weights = np.zeros((len(cell), max(len(model.values) for model in self.models)))
        for i in np.unique(which):
            model, rows = self.models[i], np.flatnonzero(which == i)
            drawn, levels[rows] = model.draw(
                mean, study=rows // draws, noise=noise[rows], scale=scale[rows], rng=rng
            )
            weights[rows, : drawn.shape[1]] = drawn
        return GaussianProcess(
            model=self,
            noise=noise,
            nugget=noise * np.array([model.ratio for model in self.models])[which],
            levels=levels,
            basis=which // len(_RATIOS),
            weights=weights,
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GaussianProcess:
    """Joint posterior draws of accuracy over the triangle and the growth of compute."""

    model: Mixture
    noise: Floats  # (S,) SD between seeds, pooled over budgets
    nugget: Floats  # (S,) SD of networks around the response
    levels: Floats  # (S, B) accuracy at the centroid of each budget
    basis: Ints  # (S,) index of the draw's basis
    weights: Floats  # (S, p) of its functions; zero beyond their number

    @property
    def budgets(self) -> Floats:
        """MACs, ascending. Shape: (B,)."""
        return self.model.design.budgets

    @property
    def log_macs_ratios(self) -> Floats:
        """Mean L of each budget's networks. Shape: (B,)."""
        return self.model.design.log_macs_ratios

    def effect(self, shares: ArrayLike, *, log_macs_ratio: float | Floats | None = None) -> Floats:
        """Return draws of accuracy relative to the centroid at the same L.

        L defaults to the largest budget's; larger values extrapolate.
        Shape: shares (n, 3) or (3,); log_macs_ratio L (n,) or a number; result (S, n).
        """
        rules = np.atleast_2d(np.asarray(shares, float))
        u = 1.0 if log_macs_ratio is None else log_macs_ratio / self.log_macs_ratios[-1]
        return self._combine([basis.columns(rules, u=u).T for basis in self.model.bases])

    def derivatives(self) -> tuple[Floats, Floats]:
        """Return first-order gains v and curvature A (dd, ww, rr, dw, dr, wr) at the base.

        Shape: (S, 3) and (S, 6).
        Units: top1 at the largest budget.
        """
        both = self._combine([basis.derivatives() for basis in self.model.bases])
        return both[:, :3], both[:, 3:]

    def _combine(self, functions: Sequence[Floats]) -> Floats:
        """Sum the functions (p, n) of each draw's basis with its weights. Shape: (S, n)."""
        result = np.empty((len(self.noise), functions[0].shape[1]))
        for i, values in enumerate(functions):
            rows = np.flatnonzero(self.basis == i)
            result[rows] = self.weights[rows, : len(values)] @ values
        return result

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
        budgets = np.eye(len(self.budgets))
        weights = [np.interp(log_macs_ratio, self.log_macs_ratios, unit) for unit in budgets]
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
    return model.sample(mean[:, None], within=within[:, None], draws=draws, rng=rng)


def factorise(
    design: Design, *, basis: Basis, columns: Floats, ratio: float, relative: Floats
) -> Conditional:
    """Factorise the regression on `columns` of the basis, given the ratio of nugget to noise."""
    precision = 1 / (ratio**2 + relative[design.level] ** 2 / design.count)
    member = np.eye(len(design.budgets))[:, design.level]
    total = member @ precision
    centre = (member * precision @ columns) / total[:, None]
    off = (columns - member.T @ centre) * np.sqrt(precision)[:, None]
    values, vectors = np.linalg.eigh(off.T @ off)
    return Conditional(
        basis=basis,
        ratio=ratio,
        precision=precision,
        member=member,
        total=total,
        centre=centre,
        values=np.maximum(values, 0.0),
        vectors=vectors,
        project=(off @ vectors).T * np.sqrt(precision),
    )


def build_mixture(design: Design, *, within: Floats, relative: Floats) -> Mixture:
    """Factorise a design at all nodes; `within` (B,) centres those of the noise."""
    u = (design.log_macs_ratios / design.log_macs_ratios[-1]).tolist()
    bases = tuple(build_basis(length=length, u=u) for length in _LENGTHS)
    log_noise = np.log(_NOISE_RANGE)
    repeats = _log_repeats(_NOISE_RANGE, design=design, relative=relative, within=within[:, None])
    mass = np.exp(repeats - repeats.max())[:, 0]
    middle = float(np.average(log_noise, weights=mass))
    spread = float(np.sqrt(np.average((log_noise - middle) ** 2, weights=mass)))
    noise, scale = np.meshgrid(np.exp(middle + spread * _NOISE_NODES), _SCALES)
    models = [
        factorise(design, basis=basis, columns=columns, ratio=ratio, relative=relative)
        for basis, columns in ((b, b.columns(design.shares, u=design.u)) for b in bases)
        for ratio in _RATIOS
    ]
    return Mixture(
        design=design,
        relative_noise=relative,
        bases=bases,
        models=tuple(models),
        noise=noise.ravel(),
        scale=scale.ravel(),
    )


def _choose_cells(masses: Floats, *, draws: int, rng: np.random.Generator) -> Ints:
    """Draw indices of nodes, `draws` for each column, one column after the other."""
    flat = masses.reshape(-1, masses.shape[-1])
    below = np.cumsum(flat, axis=0)
    uniform = rng.random((flat.shape[1], draws)) * below[-1][:, None]
    columns = zip(below.T, uniform, strict=True)
    return np.concatenate([np.searchsorted(column, at, side="right") for column, at in columns])


def _log_repeats(noise: Floats, *, design: Design, relative: Floats, within: Floats) -> Floats:
    """Return the noise's log prior and likelihood of the repeats. (M,), (B, R) to (M, R)."""
    squares = relative**-2 @ within
    prior = -0.5 * np.log(noise / _NOISE) ** 2 - design.dof.sum() * np.log(noise)
    result: Floats = prior[:, None] - 0.5 * squares / noise[:, None] ** 2
    return result
