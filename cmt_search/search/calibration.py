"""A calibration as a space: a list of networks, each trained from scratch at every fidelity."""

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Literal, NoReturn

from cmt_search.arch import Arch
from cmt_search.errors import BudgetError, SpaceError
from cmt_search.evaluation import Fidelity, image_size
from cmt_search.scaling.shares import Shares
from cmt_search.search.design import design
from cmt_search.search.protocols import Space
from cmt_search.space.candidate import Candidate, Parameter, Rung

_DRAWS = 16  # per network wanted, of a free search: enough to fill every stratum


@dataclass(frozen=True, slots=True, kw_only=True)
class Specimen:
    """A network of the sample."""

    name: str
    rung: Rung  # its fidelity is not used
    shares: Shares | None  # asked for; of a rule search


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """A fidelity, whatever the resolution of the network."""

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
class ListSampler:
    """There is nothing to choose: all of the list is measured."""

    name: str = "design"
    lattice: int = 0
    replicates: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationSpace:
    """Networks to measure at `levels`, in this order; the last is the reference."""

    specimens: tuple[Specimen, ...]
    levels: tuple[Level, ...]
    seeds: int
    seed: int
    of: str  # fingerprint of the search space, which holds the recipe and the images
    kind: Literal["list"] = "list"
    objectives: tuple[str, ...] = ("top1",)
    trials: int | None = None
    halving: int | None = None
    sampler: ListSampler = ListSampler()

    def __post_init__(self) -> None:
        if not self.specimens or not self.levels:
            raise SpaceError("a calibration needs networks and fidelities; give it some")

    @property
    def fingerprint(self) -> str:
        """Hash of all that decides what a trial is."""
        keys = [specimen.rung.arch.key for specimen in self.specimens]
        levels = [asdict(level) for level in self.levels]
        text = json.dumps([self.of, keys, levels, self.seeds, self.seed])
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def parameters(self) -> tuple[Parameter, ...]:
        """The place in the list."""
        high = len(self.specimens) - 1
        return (Parameter(name="network", low=0, high=high, integer=True),)

    def candidate(self, params: Mapping[str, float | int], name: str | None = None) -> Candidate:
        """A network of the list, its rungs the fidelities."""
        del name  # it has its own
        specimen = self.specimens[int(params["network"])]
        rung = specimen.rung
        rungs = tuple(replace(rung, fidelity=one.fidelity(rung.arch)) for one in self.levels)
        return Candidate(name=specimen.name, rungs=rungs, shares=specimen.shares)

    def named_shares(self) -> dict[str, Shares]:
        """None: a list has no rules."""
        return {}

    def params_of_shares(self, shares: Shares) -> NoReturn:
        """A list has no rules.

        Raises:
            BudgetError: always.
        """
        raise BudgetError(f"a calibration lists networks, and {shares} is none of them")


def specimens(space: Space, *, count: int) -> tuple[Specimen, ...]:
    """A stratified sample of the networks that a search could ask for.

    Of a rule search `count` for each budget, in the order of its design: centroid, the paper's
    rule and the corners first. Of a free search `count` in all: Sobol points, one from each of as
    many strata of MACs.

    Raises:
        SpaceError: fewer than four networks are feasible.
    """
    found = _of_rules(space, count=count) if space.kind == "rule" else _free(space, count=count)
    if len(found) < 4:
        raise SpaceError(
            f"the space gives {len(found)} different networks to calibrate with, and 4 are needed; "
            "raise --networks, or widen knobs and budgets"
        )
    return found


def _of_rules(space: Space, *, count: int) -> tuple[Specimen, ...]:
    by_budget: dict[float | None, dict[str, Specimen]] = {}
    for point in design(space):
        try:
            candidate = space.candidate(point.params, point.name)
        except BudgetError:
            continue
        for rung in candidate.rungs:
            there = by_budget.setdefault(rung.budget, {})
            if len(there) < count:
                specimen = Specimen(name=candidate.name, rung=rung, shares=candidate.shares)
                there.setdefault(rung.arch.key, specimen)
    return tuple(specimen for there in by_budget.values() for specimen in there.values())


def _free(space: Space, *, count: int) -> tuple[Specimen, ...]:
    from scipy.stats import qmc

    parameters = space.parameters()
    exponent = math.ceil(math.log2(_DRAWS * count))
    draws = qmc.Sobol(len(parameters), rng=space.seed).random_base2(exponent)
    found: dict[str, Specimen] = {}
    for i, row in enumerate(draws.tolist()):
        params = {p.name: _placed(p, u) for p, u in zip(parameters, row, strict=True)}
        try:
            rung = space.candidate(params, f"sobol {i}").rungs[-1]
        except BudgetError:
            continue
        found.setdefault(rung.arch.key, Specimen(name=f"sobol {i}", rung=rung, shares=None))
    return _spread(tuple(found.values()), count=count, size=lambda one: math.log(one.rung.macs))


def _placed(parameter: Parameter, u: float) -> float | int:
    """The value of a parameter at 0 <= u < 1."""
    low, high = parameter.low, parameter.high
    if parameter.log:
        value = float(low * (high / low) ** u)
    elif parameter.step is not None or parameter.integer:
        step = parameter.step or 1
        value = low + step * math.floor(u * (math.floor((high - low) / step + 1e-9) + 1))
    else:
        value = low + (high - low) * u
    return round(value) if parameter.integer else value


def _spread(
    found: Sequence[Specimen], *, count: int, size: Callable[[Specimen], float]
) -> tuple[Specimen, ...]:
    """One from each stratum between the smallest and the largest; empty ones give none."""
    sizes = [size(one) for one in found]
    if not sizes:
        return ()
    low, high = min(sizes), max(sizes)
    strata: dict[int, Specimen] = {}
    for one, value in zip(found, sizes, strict=True):
        place = int((value - low) / ((high - low) or 1) * count)
        strata.setdefault(min(place, count - 1), one)
    return tuple(strata[place] for place in sorted(strata))
