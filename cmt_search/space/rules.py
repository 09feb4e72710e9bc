"""Rule searches: a candidate is a point of the triangle, its ladder the members at the budgets."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from cmt_search.errors import BudgetError
from cmt_search.evaluation import Fidelity, image_size
from cmt_search.scaling import Budget, ScalingRule, Shares
from cmt_search.space.candidate import Candidate, Parameter, Rung
from cmt_search.space.gauge import Gauge

_STICKS = ("stick_depth", "stick_width")


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleSpace:
    """Shares by stick-breaking, so that independent uniform draws cover the triangle evenly."""

    rule_of: Callable[[Shares], ScalingRule]
    budgets: tuple[Budget, ...]
    epochs: int
    data_fraction: float
    image_scale: float = 1.0  # of each network's resolution, to train at
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
        shares = self._shares(params)
        rule = self.rule_of(shares)
        rungs = []
        for budget in self.budgets:
            try:
                member = rule.member(budget, latency=self.gauge.meters.get("latency_ms"))
            except BudgetError as error:
                raise BudgetError(f"at {budget.macs:,.0f} MACs {error}") from error
            rungs.append(
                Rung(
                    arch=member.arch,
                    fidelity=Fidelity(
                        epochs=self.epochs,
                        data_fraction=self.data_fraction,
                        image_size=image_size(member.arch.resolution, scale=self.image_scale),
                    ),
                    macs=member.cost.macs,
                    params=member.cost.params,
                    activations=member.cost.activations,
                    latency_ms=member.latency_ms,
                    budget=budget.macs,
                    realised=member.realised,
                )
            )
        return Candidate(name=name or "sampled", rungs=tuple(rungs), shares=shares)

    def _shares(self, params: Mapping[str, float | int]) -> Shares:
        first, second = (float(params[name]) for name in _STICKS)
        # Rounded, so that shares survive the way to sticks and back unchanged.
        depth = round(1 - math.sqrt(first), 9)
        width = round((1 - depth) * second, 9)
        return Shares(depth=depth, width=width, resolution=round(1 - depth - width, 9))
