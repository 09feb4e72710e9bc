"""Rule searches: a candidate is a point of the triangle, its ladder the members at the budgets."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from cmt_search.arch import Arch
from cmt_search.cost import cost
from cmt_search.errors import BudgetError
from cmt_search.evaluation import Fidelity
from cmt_search.scaling import Budget, Member, ScalingRule, Shares
from cmt_search.space.candidate import Candidate, Parameter, Rung
from cmt_search.space.gauge import Gauge

_STICKS = ("stick_depth", "stick_width")


def shares_of_sticks(params: Mapping[str, float | int]) -> Shares:
    """The shares that a rule search's parameters mean.

    Raises:
        KeyError: they are those of another search.
    """
    first, second = (float(params[name]) for name in _STICKS)
    # Rounded, so that shares survive the way to sticks and back unchanged.
    depth = round(1 - math.sqrt(first), 9)
    width = round((1 - depth) * second, 9)
    return Shares(depth=depth, width=width, resolution=round(1 - depth - width, 9))


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleSpace:
    """Shares by stick-breaking, so that independent uniform draws cover the triangle evenly."""

    rule_of: Callable[[Shares], ScalingRule]
    budgets: tuple[Budget, ...]
    epochs: tuple[int, ...]  # growing; all budgets are climbed at one length before the next
    trained: Callable[[Arch, int], Fidelity]  # a network, for so many epochs
    gauge: Gauge = field(default_factory=Gauge)  # a budget's cap on latency needs its meter

    def parameters(self) -> tuple[Parameter, ...]:
        """Two sticks in 0..1: uniform draws of both are uniform over the triangle."""
        return tuple(Parameter(name=name, low=0.0, high=1.0) for name in _STICKS)

    def params_of_shares(self, shares: Shares) -> dict[str, float]:
        """The sticks that give these shares."""
        rest = shares.width + shares.resolution
        return {
            "stick_depth": (1 - shares.depth) ** 2,
            "stick_width": shares.width / rest if rest > 1e-12 else 0.0,
        }

    def candidate(self, params: Mapping[str, float | int], name: str | None = None) -> Candidate:
        """The rule's members at the budgets, each trained alike.

        Raises:
            BudgetError: a budget is out of this rule's reach.
            SpaceError: latency is capped, and there is no meter.
        """
        self.gauge.check()
        shares = shares_of_sticks(params)
        rule = self.rule_of(shares)
        members = [self._member(rule, budget=budget) for budget in self.budgets]
        base = cost(rule.base).macs
        rungs = [
            Rung.of(member, base_macs=base, fidelity=self.trained(member.arch, epochs))
            for epochs in self.epochs
            for member in members
        ]
        return Candidate(name=name or "sampled", rungs=tuple(rungs), shares=shares)

    def _member(self, rule: ScalingRule, *, budget: Budget) -> Member:
        latency = self.gauge.meters.get("latency_ms")
        try:
            if budget.latency_ms is None:
                return _counted_member(rule, budget)
            return rule.member(budget, latency=latency)
        except BudgetError as error:
            raise BudgetError(f"at {budget.macs:,.0f} MACs {error}") from error


@lru_cache(maxsize=256)
def _counted_member(rule: ScalingRule, budget: Budget) -> Member:
    """Solved once: a design is solved to see what is feasible, to be shown, and to be asked for."""
    return rule.member(budget)
