"""Published and canonical rules, each with its source."""

import re
from collections.abc import Mapping
from typing import NamedTuple

from cmt_search.arch import Arch
from cmt_search.errors import BudgetError
from cmt_search.scaling.member import Grid
from cmt_search.scaling.rule import Constants, ScalingRule
from cmt_search.scaling.shares import Shares

_DOLLAR = "Dollar et al., arXiv:2103.06877"


class NamedRule(NamedTuple):
    """A published or canonical rule: shares, or constants whose shares depend on the base."""

    source: str
    shares: Shares | None = None
    constants: Constants | None = None

    def around(self, base: Arch, *, name: str, grid: Grid | None = None) -> ScalingRule:
        """This rule around `base`."""
        if self.constants is not None:
            return ScalingRule.from_constants(
                base, **self.constants._asdict(), grid=grid, name=name
            )
        assert self.shares is not None
        return ScalingRule(base=base, shares=self.shares, grid=grid or Grid(), name=name)


def fast_shares(alpha: float) -> Shares:
    """Dollár's family: `alpha` to width, the rest halved; 1/3 is uniform, 0.8 their fast scaling.

    Raises:
        BudgetError: alpha is no share.
    Source: fast compound scaling, arXiv:2103.06877, table 4.
    """
    if not 0 <= alpha <= 1:
        raise BudgetError(f"dwr({alpha:g}): alpha is width's share of the growth; use 0..1")
    return Shares(depth=(1 - alpha) / 2, width=alpha, resolution=(1 - alpha) / 2)


NAMED_RULES: Mapping[str, NamedRule] = {
    "cmt-paper": NamedRule(
        "CMT, arXiv:2107.06263, section 3.4", constants=Constants(1.2, 1.3, 1.15)
    ),
    "efficientnet": NamedRule(
        "EfficientNet, arXiv:1905.11946, section 3.3", constants=Constants(1.2, 1.1, 1.15)
    ),
    "dwr": NamedRule(
        f"fast compound scaling with alpha 0.8 (dWr), {_DOLLAR}",
        shares=Shares(depth=0.1, width=0.8, resolution=0.1),
    ),
    "depth-only": NamedRule(
        f"corner of the triangle; d in {_DOLLAR}", shares=Shares(depth=1, width=0, resolution=0)
    ),
    "width-only": NamedRule(
        f"corner of the triangle; w in {_DOLLAR}", shares=Shares(depth=0, width=1, resolution=0)
    ),
    "resolution-only": NamedRule(
        f"corner of the triangle; r in {_DOLLAR}", shares=Shares(depth=0, width=0, resolution=1)
    ),
    "uniform": NamedRule(
        f"centre of the triangle; uniform compound (dwr) in {_DOLLAR}",
        shares=Shares(depth=1 / 3, width=1 / 3, resolution=1 / 3),
    ),
}
"""The rules that a search compares unless told otherwise."""

CATALOGUE: Mapping[str, NamedRule] = {
    **NAMED_RULES,
    "dw": NamedRule(
        f"compound scaling of two, {_DOLLAR}", shares=Shares(depth=0.5, width=0.5, resolution=0)
    ),
    "dr": NamedRule(
        f"compound scaling of two, {_DOLLAR}", shares=Shares(depth=0.5, width=0, resolution=0.5)
    ),
    "wr": NamedRule(
        f"compound scaling of two, {_DOLLAR}", shares=Shares(depth=0, width=0.5, resolution=0.5)
    ),
}
"""All rules that have a name of their own, no point of the triangle twice."""

ALIASES: Mapping[str, str] = {
    "d": "depth-only",
    "w": "width-only",
    "r": "resolution-only",
    "dWr": "dwr",
}
"""Dollár's names of rules that have another here. His dwr is `uniform`: `dwr` is the fast one."""


def named_rule(name: str, *, base: Arch, grid: Grid | None = None) -> ScalingRule:
    """A published or canonical rule around `base`: of the catalogue, an alias, or `dwr(0.6)`.

    Raises:
        BudgetError: no such rule; the message lists the names.
    """
    name = ALIASES.get(name, name)
    if alpha := re.fullmatch(r"dwr\((\d*\.?\d+)\)", name):
        shares = fast_shares(float(alpha[1]))
        return ScalingRule(base=base, shares=shares, grid=grid or Grid(), name=name)
    if name not in CATALOGUE:
        raise BudgetError(
            f"rule {name!r} is unknown; choose from {', '.join(CATALOGUE)}, dwr(alpha)"
        )
    return CATALOGUE[name].around(base, name=name, grid=grid)


def named_rules(base: Arch, *, grid: Grid | None = None) -> dict[str, ScalingRule]:
    """All of `NAMED_RULES` around `base`."""
    return {name: named_rule(name, base=base, grid=grid) for name in NAMED_RULES}
