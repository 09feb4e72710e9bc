"""Candidates of a search space: the parameters that a sampler chooses, and their networks."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from cmt_search.arch import Arch
from cmt_search.evaluation import Fidelity
from cmt_search.scaling import Shares

Params = Mapping[str, float | int]

BUDGET = "budget"  # the parameter of shape searches: index of the budget, increasing
SHARE_PARAMS = ("depth_quantile", "width_of_rest")
SamplerName = Literal["design", "gp", "tpe", "sobol", "random", "grid", "nsga2", "nsga3", "cmaes"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplerTraits:
    """Properties of a sampler."""

    for_rules: bool = False  # whether rule searches can use it
    learns: bool = True  # from results, after its initial points
    is_optuna: bool = True  # one of Optuna's; the others list their points
    packages: tuple[str, ...] = ()  # that it needs


SAMPLERS: Mapping[str, SamplerTraits] = {
    "design": SamplerTraits(for_rules=True, learns=False, is_optuna=False),
    "gp": SamplerTraits(for_rules=True, packages=("torch", "scipy")),
    "tpe": SamplerTraits(for_rules=True),
    "sobol": SamplerTraits(learns=False, is_optuna=False),
    "random": SamplerTraits(for_rules=True, learns=False),
    "grid": SamplerTraits(learns=False, is_optuna=False),
    "nsga2": SamplerTraits(),
    "nsga3": SamplerTraits(),
    "cmaes": SamplerTraits(packages=("cmaes",)),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One number that a sampler chooses."""

    name: str
    low: float
    high: float  # inclusive
    step: float | None = None  # None: continuous
    log: bool = False
    integer: bool = False
    group: bool = False  # trials are compared within one of its values only; all get their share

    @property
    def steps(self) -> int | None:
        """Number of values; None: continuous or on a log scale."""
        if self.log or (self.step is None and not self.integer):
            return None
        return math.floor((self.high - self.low) / (self.step or 1) + 1e-9) + 1

    def at(self, u: float) -> float | int:
        """Return the value at 0 <= u < 1 of the range."""
        low, high = self.low, self.high
        if self.log:
            value = float(low * (high / low) ** u)
        elif self.steps is not None:
            value = low + (self.step or 1) * math.floor(u * self.steps)
        else:
            value = low + (high - low) * u
        return round(value) if self.integer else value


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """One step of a candidate: a network and the fidelity to train it at."""

    arch: Arch
    fidelity: Fidelity
    macs: int
    params: int
    activations: int
    latency_ms: float | None = None  # None: not measured
    memory_mib: float | None = None  # weights and peak of a forward pass; None: not measured
    budget: float | None = None  # target MACs; rule and shape searches
    realised: Shares | None = None  # shares of the rounded network; rule and shape searches
    log_macs_ratio: float | None = None  # ln(MACs / base MACs); rule and shape searches

    @property
    def contributions(self) -> tuple[float, float, float] | None:
        """Contributions of depth, width and resolution to log-MACs growth.

        The remainder is split evenly.
        """
        if self.realised is None or self.log_macs_ratio is None:
            return None
        depth, width, side = (share * self.log_macs_ratio for share in self.realised.values)
        rest = (self.log_macs_ratio - depth - width - side) / 3
        return depth + rest, width + rest, side + rest


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One point of a search space: its networks and their fidelities."""

    name: str  # of the rule, or of the origin of the point
    rungs: tuple[Rung, ...]  # in the order of training
    shares: Shares | None = None  # target; rule searches


def shares_from_params(params: Params) -> Shares:
    """Map the parameters of a rule search to shares by stick-breaking.

    Independent uniform draws of both are uniform over the triangle: `depth_quantile` is the
    probability that a uniform point has a larger depth share, (1 - depth)^2; `width_of_rest` is
    width / (width + resolution).

    Raises:
        KeyError: the parameters are of another kind of search.
    """
    first, second = (float(params[name]) for name in SHARE_PARAMS)
    # Rounded, so that shares survive a round trip through the parameters unchanged.
    depth = round(1 - math.sqrt(first), 9)
    width = round((1 - depth) * second, 9)
    return Shares(depth=depth, width=width, resolution=round(1 - depth - width, 9))


def params_from_shares(shares: Shares) -> dict[str, float]:
    """Return the parameters that give these shares; inverse of `shares_from_params`."""
    rest = shares.width + shares.resolution
    values = ((1 - shares.depth) ** 2, shares.width / rest if rest > 1e-12 else 0.0)
    return dict(zip(SHARE_PARAMS, values, strict=True))
