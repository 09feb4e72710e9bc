"""The model of `conditional`, summed over its hyperparameters.

Priors:
    scale, root mean square     log-uniform over 0.4 to 12 points: learnt, so that rules which do
    over the triangle of v.x    not differ are shrunk together, yet never so small that the prior
    and of g, each              alone resolves 0.3 points
    length of g's kernel in x   log-normal around 1 (the triangle's side is 1.4), factor 2 per SD
    noise, SD between seeds     log-normal around 1 point, a factor e per SD; repeats inform it
    lattice, what rounding and  half-Cauchy, 0.3 points; one draw per network, shared by its seeds
    the process leave over
The noise of budget b is rho_b times as large, with rho from repeats (`noise.relative_noise`) and
held. The four are summed over log-equidistant nodes, those of the noise lying where the repeats
put it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cmt_search.laws.conditional import Conditional, conditionals
from cmt_search.laws.kernel import Basis, basis
from cmt_search.laws.response import Design

Floats = NDArray[np.float64]
Ints = NDArray[np.int_]

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
