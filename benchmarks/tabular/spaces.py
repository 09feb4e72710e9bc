"""Search spaces that hold nothing but a table's networks: any candidate is the nearest of them."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, Self

import numpy as np
from tabular.benchmark_data import BenchmarkData, Rule, trained_for

from cmt_search.scaling import Shares, SmoothFamily
from cmt_search.space import Candidate, Parameter
from cmt_search.space.candidates import SHARE_PARAMS, params_from_shares, shares_from_params
from cmt_search.space.schema import Sampler

_STEPS = 14  # of depth: a grid to choose from that is finer than the table


@dataclass(frozen=True, kw_only=True)
class TabularSpace:
    """What both kinds share; the surface that a search needs of a space."""

    data: BenchmarkData
    sampler: Sampler
    seed: int
    seeds: int = 1
    trials: int = 40
    epoch_schedule: tuple[int, ...] = ()  # epochs, growing; empty: the longest of the table
    reduction_factor: int | None = None
    objectives: tuple[str, ...] = ("top1",)
    fingerprint: str = "table"
    kind: Literal["rule", "shape"] = "rule"

    def analytic_only(self) -> Self:
        """Itself: nothing is measured before a training."""
        return self

    def named_shares(self) -> Mapping[str, Shares]:
        """The rules that the sampler names, "cmt-paper" among them."""
        shares = self.data.space.named_shares()
        return {name: shares[name] for name in ("cmt-paper", *self.sampler.rules)}

    @property
    def epochs(self) -> tuple[int, ...]:
        """Of the rungs."""
        return self.epoch_schedule or self.data.lengths[-1:]


@dataclass(frozen=True, kw_only=True)
class TabularRuleSpace(TabularSpace):
    """Rules of the triangle; a candidate is the table's rule that is nearest in shares."""

    budgets: tuple[float, ...] = ()  # to measure rules at; empty: all of the table
    kind: Literal["rule"] = "rule"

    def parameters(self) -> tuple[Parameter, ...]:
        """The two parameters of shares."""
        return tuple(Parameter(name=name, low=0.0, high=1.0) for name in SHARE_PARAMS)

    def params_of_shares(self, shares: Shares) -> dict[str, float]:
        """The parameters that give these shares."""
        return params_from_shares(shares)

    def candidate(self, params: Mapping[str, float | int], name: str | None = None) -> Candidate:
        """The nearest rule: its members at the budgets, at one length after the other."""
        rule = self.nearest(params)
        budgets = self.budgets or self.data.budgets
        rungs = [trained_for(rule.members[b], e) for e in self.epochs for b in budgets]
        return Candidate(name=name or rule.name, rungs=tuple(rungs), shares=rule.shares)

    def nearest(self, params: Mapping[str, float | int]) -> Rule:
        """The table's rule with the nearest shares."""
        target = shares_from_params(params)
        return min(self.data.rules, key=lambda rule: math.dist(rule.shares.values, target.values))


@dataclass(frozen=True, kw_only=True)
class TabularShapeSpace(TabularSpace):
    """Shapes at the largest budget; a candidate is the nearest network in log sizes.

    Depth and side weigh as their exponents do: by what they cost.
    """

    kind: Literal["shape"] = "shape"

    def parameters(self) -> tuple[Parameter, ...]:
        """The budget's place, depth and side, within what the table holds."""
        depths, sides = zip(*self._sizes.values(), strict=True)
        step = max(1, round((max(depths) - min(depths)) / (_STEPS - 1)))
        most = min(depths) + math.ceil((max(depths) - min(depths)) / step) * step
        return (
            Parameter(name="budget", low=0, high=0, integer=True, group=True),
            Parameter(name="depth", low=min(depths), high=most, step=step, integer=True),
            Parameter(name="resolution", low=min(sides), high=max(sides), step=2, integer=True),
        )

    def params_of_shares(self, shares: Shares) -> dict[str, float]:
        """There are none."""
        raise NotImplementedError(f"shapes have no shares {shares}")

    def candidate(self, params: Mapping[str, float | int], name: str | None = None) -> Candidate:
        """The nearest network, trained ever longer."""
        target = (params["depth"], params["resolution"])
        key = min(self._sizes, key=lambda key: self._distance(self._sizes[key], target))
        rungs = [trained_for(self.data.by_key[key], epochs) for epochs in self.epochs]
        return Candidate(name=name or key, rungs=tuple(rungs))

    def _distance(self, a: tuple[int, int], b: tuple[float, float]) -> float:
        logs = (math.log(x / y) for x, y in zip(a, b, strict=True))
        return math.hypot(*(w * x for w, x in zip(self._weights, logs, strict=True)))

    @cached_property
    def _sizes(self) -> dict[str, tuple[int, int]]:
        """Depth and side by network."""
        archs = {key: self.data.by_key[key].arch for key in self.data.largest}
        return {key: (arch.depth, arch.resolution) for key, arch in archs.items()}

    @cached_property
    def _weights(self) -> tuple[float, float]:
        """Exponents of depth and side on the way from the base to the middle of the networks."""
        base = self.data.space.arch
        archs = [self.data.by_key[key].arch for key in self.data.largest]
        logs = [
            (
                math.log(arch.depth / base.depth),
                math.log(arch.stages[0].width / base.stages[0].width),
                math.log(arch.resolution / base.resolution),
            )
            for arch in archs
        ]
        depth, _, side = SmoothFamily(base=base).path_exponents(np.mean(logs, axis=0))
        return float(depth), float(side)
