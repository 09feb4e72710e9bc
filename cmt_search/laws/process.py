"""Accuracy over the triangle of shares as a Gaussian process, jointly over budgets: the answer.

To all orders around the base, with x = L s, L = ln(M/M0) and s the realised shares,

    accuracy of network n at budget b, seed k  =  c_b + v.x + g(x) + lattice_n + noise_nk.

g holds what is of second order and above (`kernel`): where its length is long it is the quadratic
of `surface`, the check, and where it is short, what the quadratic cannot follow. L is divided by
that of the largest budget: effects are top1 there. Everything is in closed form given the
hyperparameters (`conditional`), and these are summed out (`mixture`, which states the priors).
Validation images are shared by all networks: intervals say nothing about other images.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cmt_search.laws.mixture import Draws, Mixture, mixture
from cmt_search.laws.noise import relative_noise
from cmt_search.laws.response import level_at, reduced

Floats = NDArray[np.float64]


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
