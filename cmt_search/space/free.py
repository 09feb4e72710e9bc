"""Pareto searches: a candidate is a free architecture, its ladder growing training lengths."""

from collections.abc import Mapping
from dataclasses import dataclass

from cmt_search.arch import Arch
from cmt_search.cost import cost
from cmt_search.errors import BudgetError
from cmt_search.evaluation import Fidelity
from cmt_search.scaling import shaped
from cmt_search.space.candidate import Candidate, Parameter, Rung


@dataclass(frozen=True, slots=True, kw_only=True)
class FreeSpace:
    """Total depth, first width, side and stage ratio, each within its range."""

    base: Arch
    ranges: tuple[Parameter, ...]
    stage_ratio: float | None  # where it is not sampled
    caps: Mapping[str, int]  # macs, params, activations
    epochs: tuple[int, ...]
    data_fraction: float

    def parameters(self) -> tuple[Parameter, ...]:
        """The knobs that have a range."""
        return self.ranges

    def candidate(self, params: Mapping[str, float | int], name: str | None = None) -> Candidate:
        """One network, trained ever longer.

        Raises:
            BudgetError: the network breaks a cap, which the message names.
        """
        sizes = {k: int(v) for k, v in params.items() if k != "stage_ratio"}
        ratio = params.get("stage_ratio", self.stage_ratio)
        arch = shaped(self.base, **sizes, stage_ratio=ratio)
        measured = cost(arch)
        for cap, limit in self.caps.items():
            if (value := getattr(measured, cap)) > limit:
                raise BudgetError(
                    f"caps.{cap}: {value:,} of {dict(params)} is above {limit:,}; "
                    "raise the cap or narrow the knobs"
                )
        rungs = tuple(
            Rung(
                arch=arch,
                fidelity=Fidelity(epochs=epochs, data_fraction=self.data_fraction),
                macs=measured.macs,
                params=measured.params,
                activations=measured.activations,
            )
            for epochs in self.epochs
        )
        return Candidate(name=name or "sampled", rungs=rungs)
