"""What a search is handed: parameters to ask for, and the ladder that a choice of them means."""

import math
from dataclasses import dataclass
from typing import Self

from cmt_search.arch import Arch
from cmt_search.evaluation import Fidelity
from cmt_search.scaling.member import Member
from cmt_search.scaling.shares import Shares


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One number that a sampler may choose."""

    name: str
    low: float
    high: float  # inclusive
    step: float | None = None  # None: continuous
    log: bool = False
    integer: bool = False
    stratum: bool = False  # trials are compared within one of its values only; all get their share

    @property
    def steps(self) -> int | None:
        """How many values it has; None: a continuum, or a log scale."""
        if self.log or (self.step is None and not self.integer):
            return None
        return math.floor((self.high - self.low) / (self.step or 1) + 1e-9) + 1

    def at(self, u: float) -> float | int:
        """Its value at 0 <= u < 1 of its range."""
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
    """One step of a candidate's ladder: a network and how long to train it."""

    arch: Arch
    fidelity: Fidelity
    macs: int
    params: int
    activations: int
    latency_ms: float | None = None  # as measured; None: nothing caps it or asks for it
    memory_mib: float | None = None  # likewise: weights and the peak of a forward pass
    budget: float | None = None  # MACs asked for; rule and shape searches
    realised: Shares | None = None  # shares that the rounded network really has; likewise
    growth: float | None = None  # ln(MACs / base MACs); likewise

    @classmethod
    def of(cls, member: Member, *, base_macs: int, fidelity: Fidelity) -> Self:
        """A solved member to be trained so; `base_macs` are those that it grew from."""
        return cls(
            arch=member.arch,
            fidelity=fidelity,
            macs=member.cost.macs,
            params=member.cost.params,
            activations=member.cost.activations,
            latency_ms=member.latency_ms,
            budget=member.budget.macs,
            realised=member.realised,
            growth=math.log(member.cost.macs / base_macs),
        )

    @property
    def contributions(self) -> tuple[float, float, float] | None:
        """What depth, width and side brought of the growth, what no dimension explains evenly."""
        if self.realised is None or self.growth is None:
            return None
        depth, width, side = (share * self.growth for share in self.realised.values)
        rest = (self.growth - depth - width - side) / 3
        return depth + rest, width + rest, side + rest


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One point of a search space, decided down to the networks of its ladder."""

    name: str  # the rule's name, or how the point came about
    rungs: tuple[Rung, ...]  # climbed in this order
    shares: Shares | None = None  # asked for; rule searches
