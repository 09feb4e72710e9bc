"""What a search is handed: parameters to ask for, and the ladder that a choice of them means."""

from dataclasses import dataclass

from cmt_search.arch import Arch
from cmt_search.evaluation import Fidelity
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
    budget: float | None = None  # MACs asked for; rule searches
    realised: Shares | None = None  # shares that the rounded network really has; rule searches


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One point of a search space, decided down to the networks of its ladder."""

    name: str  # the rule's name, or how the point came about
    rungs: tuple[Rung, ...]  # climbed in this order
    shares: Shares | None = None  # asked for; rule searches
