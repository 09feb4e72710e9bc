"""Shape searches: a candidate is a shape at one budget, as wide as that budget allows."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache, partial

from cmt_search.arch import Arch
from cmt_search.cost import cost
from cmt_search.errors import BudgetError
from cmt_search.evaluation import Fidelity
from cmt_search.scaling import Budget, Grid, Member, shape_at
from cmt_search.space.candidate import Candidate, Parameter, Rung
from cmt_search.space.gauge import Gauge

BUDGET = "budget"  # the parameter: a place among the growing budgets


@dataclass(frozen=True, slots=True, kw_only=True)
class ShapeSpace:
    """Depth, side and stage ratio within their ranges; what has none stays the base's."""

    base: Arch
    ranges: tuple[Parameter, ...]
    budgets: tuple[Budget, ...]  # growing
    stage_ratio: float | None  # where it is not sampled
    grid: Grid  # bounds and steps of widths
    epochs: tuple[int, ...]
    trained: Callable[[Arch, int], Fidelity]  # a network, for so many epochs
    gauge: Gauge = field(default_factory=Gauge)  # a budget's cap on latency needs its meter

    def parameters(self) -> tuple[Parameter, ...]:
        """The place of the budget, and the knobs that have a range."""
        high = len(self.budgets) - 1
        return (Parameter(name=BUDGET, low=0, high=high, integer=True, stratum=True), *self.ranges)

    def candidate(self, params: Mapping[str, float | int], name: str | None = None) -> Candidate:
        """One shape at one budget, trained ever longer.

        Raises:
            BudgetError: no width meets the budget.
            ArchError: there is no such network.
            SpaceError: latency is capped, and there is no meter.
        """
        self.gauge.check()
        budget = self.budgets[int(params[BUDGET])]
        member = self._member(
            budget,
            depth=int(params.get("depth", self.base.depth)),
            resolution=int(params.get("resolution", self.base.resolution)),
            stage_ratio=params.get("stage_ratio", self.stage_ratio),
        )
        base = cost(self.base).macs
        rungs = tuple(
            Rung.of(member, base_macs=base, fidelity=self.trained(member.arch, epochs))
            for epochs in self.epochs
        )
        return Candidate(name=name or "sampled", rungs=rungs)

    def _member(
        self, budget: Budget, *, depth: int, resolution: int, stage_ratio: float | None
    ) -> Member:
        shape = partial(
            shape_at if budget.latency_ms else _counted_shape,
            self.base,
            depth=depth,
            resolution=resolution,
            stage_ratio=stage_ratio,
            budget=budget,
            grid=self.grid,
        )
        return shape(latency=self.gauge.meters["latency_ms"]) if budget.latency_ms else shape()

    def check_reach(self) -> None:
        """Refuse a budget that no shape of a coarse grid of the ranges meets.

        Raises:
            BudgetError: there is one; it names the last refusal.
        """
        for place, budget in enumerate(self.budgets):
            refusal = self._refusal(place)
            if refusal is not None:
                raise BudgetError(
                    f"{budget.macs:,.0f} MACs is beyond reach of every shape tried; {refusal}"
                )

    def _refusal(self, place: int) -> BudgetError | None:
        """Why the shapes of a coarse grid miss a budget; None: one of them does not."""
        shapes: list[dict[str, float | int]] = [{BUDGET: place}]
        for parameter in self.ranges:
            values = [parameter.at(u) for u in (0.5, 0.25, 0.75, 0.0)] + [parameter.high]
            shapes = [{**shape, parameter.name: value} for value in values for shape in shapes]
        last: BudgetError | None = None
        for shape in shapes:
            try:
                self.candidate(shape)
            except BudgetError as error:
                last = error
            else:
                return None
        return last


_counted_shape = lru_cache(maxsize=256)(shape_at)  # a population is solved, shown and asked for
