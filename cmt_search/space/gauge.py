"""Costs that are measured, by functions that a space is given: it knows no torch itself."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from cmt_search.arch import Arch
from cmt_search.errors import BudgetError, SpaceError

Meter = Callable[[Arch], float]

UNITS = {"latency_ms": "ms", "memory_mib": "MiB"}  # what may be measured


@dataclass(frozen=True, slots=True, kw_only=True)
class Gauge:
    """What is to be measured of every network, with what, and up to where."""

    wanted: tuple[str, ...] = ()  # of UNITS
    meters: Mapping[str, Meter] = field(default_factory=dict)
    caps: Mapping[str, float] = field(default_factory=dict)

    def check(self) -> None:
        """Refuse to choose networks without what was asked of them.

        Raises:
            SpaceError: a meter is missing.
        """
        missing = [name for name in self.wanted if name not in self.meters]
        if missing:
            raise SpaceError(
                f"{missing[0]} is capped or an objective, and nothing here measures it; "
                f"give the space a function: space.metered({{'{missing[0]}': function}})"
            )

    def measured(self, arch: Arch, *, what: str) -> dict[str, float]:
        """The figures of a network by name; the next is measured only within the caps before.

        Raises:
            BudgetError: one is above its cap.
        """
        found: dict[str, float] = {}
        for name in self.wanted:
            found[name] = value = self.meters[name](arch)
            limit = self.caps.get(name)
            if limit is not None and value > limit:
                raise BudgetError(
                    f"caps.{name}: {value:.4g} {UNITS[name]}, as measured of {what}, is above "
                    f"{limit:g}; raise the cap or narrow the knobs"
                )
        return found
