"""What a search needs of a search space: the surface that `SearchSpace` offers and tests fake."""

from collections.abc import Mapping
from typing import Literal, Protocol

from cmt_search.scaling.shares import Shares
from cmt_search.space.candidate import Candidate, Parameter


class Sampler(Protocol):
    """How candidates are chosen."""

    @property
    def name(self) -> str:
        """One of "design", "gp", "tpe", "sobol", "random", "grid", "nsga2", "nsga3", "cmaes"."""
        ...

    @property
    def lattice(self) -> int:
        """Order m of the simplex lattice: shares are multiples of 1/m; 0 for no lattice."""
        ...

    @property
    def augmented(self) -> bool:
        """Whether the lattice keeps to the feasible part, and has blends inside."""
        ...

    @property
    def replicates(self) -> int:
        """Measurements in all of the centroid and of the paper's rule."""
        ...

    @property
    def population(self) -> int | None:
        """Sobol points of a free or shape search before its model asks; None: as many as fit."""
        ...


class Space(Protocol):
    """A validated search space."""

    @property
    def kind(self) -> Literal["rule", "shape", "pareto", "list"]:
        """What a candidate is: a rule, a shape at a budget, a network, or one of a list."""
        ...

    @property
    def objectives(self) -> tuple[str, ...]:
        """Of "top1", "loss", "macs", "params", "activations", "latency_ms", "memory_mib",
        "seconds"."""
        ...

    @property
    def trials(self) -> int | None:
        """Trials in all; None: as many as the design holds."""
        ...

    @property
    def seeds(self) -> int:
        """Trainings per rung."""
        ...

    @property
    def seed(self) -> int:
        """The run's seed."""
        ...

    @property
    def sampler(self) -> Sampler:
        """How candidates are chosen."""
        ...

    @property
    def halving(self) -> int | None:
        """Factor of successive halving over the ladder; None: every trial climbs all of it."""
        ...

    @property
    def fingerprint(self) -> str:
        """Hash of everything that decides what a trial is."""
        ...

    def counted(self) -> "Space":
        """The same space, of whose networks nothing is measured before training."""
        ...

    def parameters(self) -> tuple[Parameter, ...]:
        """The numbers that a sampler chooses."""
        ...

    def candidate(self, params: Mapping[str, float | int], name: str | None = None) -> Candidate:
        """The ladder that a choice means.

        Raises:
            BudgetError: no network meets the limits, those measured before training among them.
        """
        ...

    def params_of_shares(self, shares: Shares) -> dict[str, float]:
        """The parameters that give these shares; rule searches."""
        ...

    def named_shares(self) -> Mapping[str, Shares]:
        """The named rules that a rule search includes, "cmt-paper" among them."""
        ...
