"""The linear model of a study, given the length of its kernel and how large lattice effects are.

    mean of network n  =  level of its budget + columns_n.w + lattice_n + noise_n / sqrt(count_n)

with w ~ N(0, scale^2), lattice ~ N(0, tau^2), noise ~ N(0, (sigma rho_b)^2) and flat levels. Given
ratio = tau / sigma the networks' covariance is sigma^2 D with D known, so one eigendecomposition of
C'D^-1 C, with C the columns less their budget's mean under D^-1, serves every sigma, every scale
and every outcome: many studies of one design cost little more than one. A direction that was not
measured has the eigenvalue zero and keeps its prior; nothing needs a jitter.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cmt_search.laws.kernel import Basis
from cmt_search.laws.response import Design

Floats = NDArray[np.float64]
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
