"""Compare published networks and rules."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cmt_search.arch import Arch
from cmt_search.cost import cost
from cmt_search.errors import BudgetError
from cmt_search.scaling.attribution import (
    realised_coordinates,
    realised_shares,
    realised_stage_ratio,
)
from cmt_search.scaling.continuous import Floats, SmoothFamily, log_macs
from cmt_search.scaling.member import Budget, Factors, Grid, Member
from cmt_search.scaling.rules import (
    ALIASES,
    CATALOGUE,
    Constants,
    ScalingRule,
    TinyNet,
    named_rule,
    named_rules,
)
from cmt_search.scaling.shares import Shares


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantGap:
    """How far a network is from where a rule puts it."""

    arch: Arch
    wanted: Factors  # factors on the base that the rule asks for
    actual: Factors  # factors that the network has; width's is the geometric mean over stages
    wanted_macs: float  # of the fractional network that the rule asks for
    macs: int  # of the network

    @property
    def gaps(self) -> Floats:
        """ln of actual over wanted. Shape: (3,) for depth, width and resolution."""
        return self.actual.logs - self.wanted.logs


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """How well one rule explains variants of its base."""

    rule: ScalingRule
    stage_ratio: float | None  # of the blocks that the variants add, the part in stage 3, fitted
    variants: tuple[VariantGap, ...]

    @property
    def rms(self) -> Floats:
        """Root mean square of the variants' gaps. Shape: (3,) for depth, width and resolution."""
        gaps = [variant.gaps for variant in self.variants]
        rms: Floats = np.sqrt(np.mean(np.square(gaps), axis=0))
        return rms

    @property
    def r_squared(self) -> Floats:
        """The part of the variants' squared log sizes that is no gap; NaN where none differs.

        Shape: (3,) for depth, width and resolution.
        """
        sizes = np.square([variant.actual.logs for variant in self.variants]).sum(axis=0)
        gaps = np.square([variant.gaps for variant in self.variants]).sum(axis=0)
        part: Floats = 1 - np.divide(gaps, sizes, out=np.full(3, np.nan), where=sizes > 0)
        return part


def fitted_rule(
    base: Arch, *, variants: Sequence[Arch], grid: Grid | None = None, name: str = "fitted"
) -> Explanation:
    """The shares nearest to what variants of `base` spent, by least squares over log MACs.

    A variant that grew by L in ln MACs spent L times its realised shares; the shares that minimise
    the squared distance to these, over variants and dimensions, are their mean weighted by L^2.
    They are divided by their sum, which differs from one where variants changed other ratios.

    Raises:
        BudgetError: no variant differs from the base in MACs, or one has other stages.
    """
    spent = np.zeros(3)
    for variant in variants:
        shares, _ = realised_shares(base, _comparable(variant, base=base))
        if shares is not None:
            growth = math.log(cost(variant).macs / cost(base).macs)
            spent += growth**2 * np.array(shares.values)
    spent = np.maximum(spent, 0)
    if not spent.any():
        raise BudgetError("no variant differs from the base in MACs; give others than the base")
    depth, width, side = (float(share) for share in spent / spent.sum())
    shares = Shares(depth=depth, width=width, resolution=side)
    rule = ScalingRule(base=base, shares=shares, grid=grid or Grid(), name=name)
    return explained(rule, variants=variants)


def explained(rule: ScalingRule, *, variants: Sequence[Arch]) -> Explanation:
    """How far variants are from where `rule` is at their MACs.

    Raises:
        BudgetError: a variant has other stages than the base.
    """
    gaps = []
    for variant in variants:
        x = rule.ideal(cost(_comparable(variant, base=rule.base)).macs)
        gaps.append(_gap(rule.base, variant, x=x))
    ratio = _stage_ratio(rule.base, variants)
    return Explanation(rule=rule, stage_ratio=ratio, variants=tuple(gaps))


def constant_gaps(
    base: Arch, *, constants: Constants, variants: Mapping[float, Arch]
) -> tuple[VariantGap, ...]:
    """How far variants, by their phi, are from `constants` to the power phi."""
    logs = np.log(constants)
    return tuple(
        _gap(base, _comparable(variant, base=base), x=phi * logs)
        for phi, variant in variants.items()
    )


def _gap(base: Arch, variant: Arch, *, x: Floats) -> VariantGap:
    family = SmoothFamily(base=base)
    return VariantGap(
        arch=variant,
        wanted=Factors.at(x),
        actual=Factors.at(realised_coordinates(base, variant)),
        wanted_macs=float(np.exp(log_macs(family.at(x), like=family.sizes))),
        macs=cost(variant).macs,
    )


def _stage_ratio(base: Arch, variants: Sequence[Arch]) -> float | None:
    """Least squares of the blocks added to stage 3 on all blocks added."""
    ratios = [(v.depth - base.depth, realised_stage_ratio(base, v)) for v in variants]
    known = [(added**2, ratio) for added, ratio in ratios if ratio is not None]
    if not known:
        return None
    return math.fsum(weight * ratio for weight, ratio in known) / sum(w for w, _ in known)


def _comparable(variant: Arch, *, base: Arch) -> Arch:
    if len(variant.stages) != len(base.stages):
        raise BudgetError(
            f"a variant has {len(variant.stages)} stages, the base {len(base.stages)}; "
            "give variants of this base"
        )
    return variant


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


_TINYNET = "Model Rubik's Cube, arXiv:2010.14819: between its five published networks"


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleRow:
    """A rule around a base."""

    name: str
    source: str
    aliases: tuple[str, ...]
    shares: Shares | None  # None: they vary with the budget
    constants: Constants | None  # factors per step of phi, at the growth that was asked for
    members: tuple[Member, ...]
    missing: Mapping[float, str]  # why a budget, in MACs, has no member

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "name": self.name,
            "source": self.source,
            "aliases": list(self.aliases),
            "shares": None if self.shares is None else [round(v, 4) for v in self.shares.values],
            "constants": None if self.constants is None else [round(v, 4) for v in self.constants],
            "members": [member.to_dict() for member in self.members],
            "missing": {f"{macs:.0f}": reason for macs, reason in self.missing.items()},
        }


def members_at(
    rule: ScalingRule | TinyNet, *, budgets: Iterable[Budget | float]
) -> tuple[tuple[Member, ...], dict[float, str]]:
    """The members of a rule, and by MACs why a budget has none."""
    members, missing = [], {}
    for budget in budgets:
        try:
            members.append(rule.member(budget))
        except BudgetError as error:
            missing[budget.macs if isinstance(budget, Budget) else budget] = str(error)
    return tuple(members), missing


def off_budget(member: Member) -> float:
    """How far the member's MACs lie from the budget, as a part of it; above it where positive."""
    return member.cost.macs / member.budget.macs - 1


def off_shares(member: Member, *, asked: Shares) -> float | None:
    """Root mean square between realised and asked shares; None at the base, which has none."""
    if member.realised is None:
        return None
    apart = np.subtract(member.realised.values, asked.values)
    return float(np.sqrt(np.square(apart).mean()))


def describe_rules(
    base: Arch,
    *,
    budgets: Iterable[Budget | float],
    grid: Grid | None = None,
    growth: float = 2.5,
) -> tuple[RuleRow, ...]:
    """The whole catalogue around `base`, with members at `budgets` or why there is none."""
    asked = tuple(budgets)
    rows = [
        describe_rule(
            named_rule(name, base=base, grid=grid),
            source=known.source,
            budgets=asked,
            growth=growth,
        )
        for name, known in CATALOGUE.items()
    ]
    tinynet = TinyNet(base=base, grid=grid or Grid())
    return (*rows, describe_rule(tinynet, source=_TINYNET, budgets=asked))


def describe_rule(
    rule: ScalingRule | TinyNet,
    *,
    source: str,
    budgets: Iterable[Budget | float],
    growth: float = 2.5,
) -> RuleRow:
    """One rule, with members at `budgets` or why there is none."""
    members, missing = members_at(rule, budgets=budgets)
    return RuleRow(
        name=rule.name,
        source=source,
        aliases=tuple(alias for alias, name in ALIASES.items() if name == rule.name),
        shares=rule.shares if isinstance(rule, ScalingRule) else None,
        constants=rule.constants(growth=growth) if isinstance(rule, ScalingRule) else None,
        members=members,
        missing=missing,
    )
