"""Pareto searches: a candidate is a free architecture, its ladder growing training lengths."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from cmt_search.arch import Arch
from cmt_search.cost import cost
from cmt_search.errors import BudgetError
from cmt_search.evaluation import Fidelity
from cmt_search.scaling import Keep, shaped
from cmt_search.space.candidate import Candidate, Parameter, Rung
from cmt_search.space.gauge import Gauge


@dataclass(frozen=True, slots=True, kw_only=True)
class FreeSpace:
    """Sizes of the base, each within its range; what has none stays the base's."""

    base: Arch
    ranges: tuple[Parameter, ...]
    stage_ratio: float | None  # where it is not sampled
    keep: Keep  # in every stage: the number of heads, or the channels in each
    caps: Mapping[str, int]  # macs, params, activations
    epochs: tuple[int, ...]
    trained: Callable[[Arch, int], Fidelity]  # a network, for so many epochs
    gauge: Gauge = field(default_factory=Gauge)

    def parameters(self) -> tuple[Parameter, ...]:
        """The knobs that have a range."""
        return self.ranges

    def candidate(self, params: Mapping[str, float | int], name: str | None = None) -> Candidate:
        """One network, trained ever longer.

        Raises:
            BudgetError: the network breaks a cap, which the message names.
            ArchError: there is no such network; none between the ends of checked ranges.
            SpaceError: a cost is to be measured, and there is no meter.
        """
        self.gauge.check()
        arch = self._arch(params)
        counted = cost(arch)
        for cap, limit in self.caps.items():
            if (value := getattr(counted, cap)) > limit:
                raise BudgetError(
                    f"caps.{cap}: {value:,} of {dict(params)} is above {limit:,}; "
                    "raise the cap or narrow the knobs"
                )
        measured = self.gauge.measured(arch, what=str(dict(params)))
        rungs = tuple(
            Rung(
                arch=arch,
                fidelity=self.trained(arch, epochs),
                macs=counted.macs,
                params=counted.params,
                activations=counted.activations,
                latency_ms=measured.get("latency_ms"),
                memory_mib=measured.get("memory_mib"),
            )
            for epochs in self.epochs
        )
        return Candidate(name=name or "sampled", rungs=rungs)

    def _arch(self, params: Mapping[str, float | int]) -> Arch:
        sizes = {k: int(params[k]) for k in ("depth", "width", "resolution") if k in params}
        ends: Any = {k: int(params[k]) for k in ("stem_width", "neck_width") if k in params}
        ratios: Any = {k: float(params[k]) for k in ("mlp_ratio", "qk_ratio") if k in params}
        stage_ratio = params.get("stage_ratio", self.stage_ratio)
        arch = shaped(self.base, **sizes, stage_ratio=stage_ratio, keep=self.keep)
        return replace(arch, stages=tuple(replace(s, **ratios) for s in arch.stages), **ends)
