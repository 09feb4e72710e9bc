"""Published networks against rules: the rule that explains them best, and how far each one is."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cmt_search.arch import Arch
from cmt_search.cost import cost
from cmt_search.errors import BudgetError
from cmt_search.scaling.member import Factors, Grid
from cmt_search.scaling.realised import (
    realised_coordinates,
    realised_shares,
    realised_stage_ratio,
)
from cmt_search.scaling.rule import Constants, ScalingRule
from cmt_search.scaling.shares import Shares
from cmt_search.scaling.smooth import Floats, SmoothFamily, log_macs


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
