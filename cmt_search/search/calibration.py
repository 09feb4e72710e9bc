"""A calibration as a search space: a list of networks, each trained at every fidelity."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import Literal, NoReturn, Self

from cmt_search.arch import Arch
from cmt_search.errors import BudgetError, SpaceError
from cmt_search.evaluation import Fidelity, image_size
from cmt_search.scaling.shares import Shares
from cmt_search.search.sampling.design import design_points
from cmt_search.search.sampling.sobol import initial_points, stratified_networks
from cmt_search.search.types import Space
from cmt_search.space.candidates import Candidate, Parameter, Rung
from cmt_search.space.schema import Sampler

_SAMPLER = Sampler(name="design")  # a list is measured completely


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationNetwork:
    """A network of the calibration sample."""

    name: str
    rung: Rung  # its fidelity is not used
    shares: Shares | None  # nominal; of a rule search


@dataclass(frozen=True, slots=True, kw_only=True)
class FidelityLevel:
    """A fidelity, relative to the resolution of the network."""

    epochs: int
    data_fraction: float = 1.0
    image_scale: float = 1.0  # of the network's resolution, rounded to even pixels

    def __str__(self) -> str:
        parts = [f"{self.epochs} epoch" + "s" * (self.epochs > 1)]
        parts += [f"{self.data_fraction:.0%} of the images"] if self.data_fraction != 1 else []
        parts += [f"{self.image_scale:g} of the side"] if self.image_scale != 1 else []
        return ", ".join(parts)

    def fidelity(self, arch: Arch) -> Fidelity:
        """The fidelity of one network."""
        return Fidelity(
            epochs=self.epochs,
            data_fraction=self.data_fraction,
            image_size=image_size(arch.resolution, scale=self.image_scale),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationSpace:
    """Networks to measure at `levels`; the last level is the reference."""

    networks: tuple[CalibrationNetwork, ...]
    levels: tuple[FidelityLevel, ...]
    seeds: int
    seed: int
    of: str  # fingerprint of the search space, which holds the recipe and the images
    kind: Literal["list"] = "list"
    objectives: tuple[str, ...] = ("top1",)
    trials: int | None = None
    reduction_factor: int | None = None
    sampler: Sampler = _SAMPLER

    def __post_init__(self) -> None:
        if not self.networks or not self.levels:
            raise SpaceError("a calibration needs networks and fidelities; give it some")

    @property
    def fingerprint(self) -> str:
        """Hash of everything that determines a trial."""
        keys = [network.rung.arch.key for network in self.networks]
        levels = [asdict(level) for level in self.levels]
        text = json.dumps([self.of, keys, levels, self.seeds, self.seed])
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def analytic_only(self) -> Self:
        """Return the space itself: the networks of a list are known."""
        return self

    def parameters(self) -> tuple[Parameter, ...]:
        """Return the index in the list as the only parameter."""
        high = len(self.networks) - 1
        return (Parameter(name="network", low=0, high=high, integer=True),)

    def candidate(self, params: Mapping[str, float | int], name: str | None = None) -> Candidate:
        """Return a network of the list, with a rung for each level."""
        del name  # networks have names
        network = self.networks[int(params["network"])]
        rung = network.rung
        rungs = tuple(replace(rung, fidelity=level.fidelity(rung.arch)) for level in self.levels)
        return Candidate(name=network.name, rungs=rungs, shares=network.shares)

    def named_shares(self) -> dict[str, Shares]:
        """Return no rules."""
        return {}

    def params_of_shares(self, shares: Shares) -> NoReturn:
        """Raise: a list has no rules.

        Raises:
            BudgetError: always.
        """
        raise BudgetError(f"a calibration lists networks, and {shares} is none of them")


def sample_networks(space: Space, *, count: int) -> tuple[CalibrationNetwork, ...]:
    """Return a stratified sample of the networks that a search could suggest.

    In a rule search `count` for each budget, in the order of its design: centroid, the paper's
    rule and the corners first; in a shape search as many, by Sobol points. In a Pareto search
    `count` in all, by Sobol points stratified by MACs.

    Raises:
        SpaceError: fewer than four networks are feasible.
    """
    distinct: dict[float, dict[str, CalibrationNetwork]] = {}  # by budget and architecture
    for candidate in _candidates(space, count=count):
        for rung in candidate.rungs if space.kind == "rule" else candidate.rungs[-1:]:
            of_budget = distinct.setdefault(rung.budget or 0.0, {})
            if len(of_budget) < count:
                shares = candidate.shares
                network = CalibrationNetwork(name=candidate.name, rung=rung, shares=shares)
                of_budget.setdefault(rung.arch.key, network)
    networks = [
        network for _, of_budget in sorted(distinct.items()) for network in of_budget.values()
    ]
    if len(networks) < 4:
        raise SpaceError(
            f"the space has {len(networks)} different networks, a calibration needs 4; "
            "raise --networks, or widen knobs and budgets"
        )
    return tuple(networks)


def _candidates(space: Space, *, count: int) -> Iterator[Candidate]:
    """Yield feasible candidates, `count` or more of each budget where there are as many."""
    if space.kind == "pareto":
        candidates = [candidate for _, candidate in stratified_networks(space, count=count)]
        yield from sorted(candidates, key=lambda candidate: candidate.rungs[-1].macs)
        return
    budgets = next((p.steps or 1 for p in space.parameters() if p.group), 1)
    for point in design_points(space) or initial_points(space, count=count * budgets):
        with suppress(BudgetError):
            yield space.candidate(point.params, point.name)
