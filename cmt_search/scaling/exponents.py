"""How far constant exponents are from the truth: what they promise, and what networks cost."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cmt_search.arch import Arch
from cmt_search.scaling.named import named_rules
from cmt_search.scaling.shares import Shares
from cmt_search.scaling.smooth import Floats, SmoothFamily, log_macs

GROWTHS = (2.0, 4.0, 8.0, 16.0, 30.0)

Exponents = tuple[float, float, float]  # of depth, width and resolution


@dataclass(frozen=True, slots=True, kw_only=True)
class ExponentRow:
    """A rule in its constant form, alpha^phi and so on, followed to a growth that it promises."""

    rule: str
    promised: float  # MACs over the base's, had the base's exponents held
    true: float  # MACs over the base's of the fractional network there
    local: Exponents  # at the base
    path: Exponents  # their means from the base to there

    @property
    def error(self) -> float:
        """By what part of the truth the promise is off; below 0 where networks cost more."""
        return self.promised / self.true - 1


def exponent_table(
    base: Arch,
    *,
    growths: Sequence[float] = GROWTHS,
    rules: Mapping[str, Shares] | None = None,
) -> tuple[ExponentRow, ...]:
    """Promised and true MACs of rules around `base`, a row per rule and growth.

    The rules are the named ones, corners included, unless others are given.
    """
    if rules is None:
        rules = {name: rule.shares for name, rule in named_rules(base).items()}
    family = SmoothFamily(base=base)
    start = log_macs(family.at(np.zeros(3)), like=family.sizes)
    local = family.exponents_at(np.zeros(3))
    rows = []
    for name, shares in rules.items():
        x = np.outer(np.log(growths), np.array(shares.values) / local)
        true = np.exp(log_macs(family.at(x), like=family.sizes) - start)
        rows += [
            ExponentRow(
                rule=name,
                promised=float(promised),
                true=float(reached),
                local=_exponents(local),
                path=_exponents(path),
            )
            for promised, reached, path in zip(growths, true, family.path_exponents(x), strict=True)
        ]
    return tuple(rows)


def _exponents(values: Floats) -> Exponents:
    depth, width, side = (float(value) for value in values)
    return depth, width, side
