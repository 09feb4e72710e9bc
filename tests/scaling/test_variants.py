"""Published variants against rules: the best one, and the one that their paper prints."""

import math
from dataclasses import replace

import numpy as np
import pytest

from cmt_search.arch import Arch
from cmt_search.cost import cost
from cmt_search.errors import BudgetError
from cmt_search.presets import PRESETS
from cmt_search.scaling import (
    Constants,
    Grid,
    constant_gaps,
    explained,
    fitted_rule,
    named_rule,
    realised_shares,
)

CMT_S = PRESETS["cmt_s"]
TI, XS, B = (PRESETS[name] for name in ("cmt_ti", "cmt_xs", "cmt_b"))
PAPER = Constants(1.2, 1.3, 1.15)


def _deeper(base: Arch, times: int) -> Arch:
    return replace(base, stages=tuple(replace(s, depth=times * s.depth) for s in base.stages))


def _wider(base: Arch, times: int) -> Arch:
    stages = tuple(replace(s, width=times * s.width) for s in base.stages)
    return replace(base, stem_width=times * base.stem_width, stages=stages)


@pytest.mark.parametrize(
    ("phi", "depth", "width", "resolution"),
    [(-1, 13.3, 49.2, 194.8), (-2, 11.1, 37.9, 169.4)],
)
def test_the_paper_s_constants_do_not_give_its_own_smaller_variants(
    phi: int, depth: float, width: float, resolution: float
) -> None:
    gap = constant_gaps(CMT_S, constants=PAPER, variants={phi: XS})[0]
    third, first = CMT_S.stages[2].depth, CMT_S.stages[0].width
    assert third * gap.wanted.depth == pytest.approx(depth, abs=0.05)
    assert first * gap.wanted.width == pytest.approx(width, abs=0.05)
    assert CMT_S.resolution * gap.wanted.resolution == pytest.approx(resolution, abs=0.05)


def test_gaps_are_logs_of_what_variants_have_over_what_constants_ask_for() -> None:
    ti, xs, b = constant_gaps(CMT_S, constants=PAPER, variants={-2: TI, -1: XS, 1: B})
    assert [gap.macs for gap in (ti, xs, b)] == [cost(arch).macs for arch in (TI, XS, B)]
    wanted = (25 / 1.44, 64 / 1.69, 224 / 1.3225)
    assert ti.gaps == pytest.approx(np.log(np.divide((16, 46, 160), wanted)), abs=1e-12)
    assert abs(ti.gaps[1]) > 0.19  # a fifth wider than its rule says
    assert b.gaps == pytest.approx(
        [math.log(32 / 30), math.log(76 / 64 / 1.3), math.log(256 / 224 / 1.15)], abs=1e-12
    )
    assert b.wanted_macs / b.macs == pytest.approx(1.135, abs=0.01)


def test_the_shares_of_one_variant_are_its_realised_ones() -> None:
    shares, residual = realised_shares(CMT_S, B)
    assert shares is not None
    assert abs(residual) < 1e-9
    fit = fitted_rule(CMT_S, variants=[B])
    assert fit.rule.shares.values == pytest.approx(shares.values, abs=1e-9)


def test_variants_that_a_rule_made_are_explained_by_it_wholly() -> None:
    fit = fitted_rule(CMT_S, variants=[_deeper(CMT_S, 2), _deeper(CMT_S, 4)])
    assert fit.rule.shares.values == pytest.approx((1, 0, 0), abs=1e-9)
    assert fit.rms == pytest.approx((0, 0, 0), abs=1e-9)
    assert fit.r_squared[0] == pytest.approx(1, abs=1e-9)
    assert np.isnan(fit.r_squared[1:]).all()  # no variant differs in width or resolution
    assert fit.stage_ratio == pytest.approx(16 / 25)


def test_larger_variants_weigh_more_as_least_squares_says() -> None:
    variants = [_deeper(CMT_S, 2), _wider(CMT_S, 2), B]
    growths = np.array([math.log(cost(v).macs / cost(CMT_S).macs) for v in variants])
    shares = np.array([realised_shares(CMT_S, v)[0].values for v in variants])
    solution, *_ = np.linalg.lstsq(growths[:, None], growths[:, None] * shares, rcond=None)
    fit = fitted_rule(CMT_S, variants=variants)
    assert fit.rule.shares.values == pytest.approx(solution[0], abs=1e-9)


def test_the_published_variants_are_explained_by_one_rule_that_is_not_the_paper_s() -> None:
    fit = fitted_rule(CMT_S, variants=[TI, XS, B], grid=Grid(resolution_step=32), name="published")
    assert fit.rule.shares.values == pytest.approx((0.22, 0.40, 0.38), abs=0.01)
    assert (fit.rule.name, fit.rule.grid) == ("published", Grid(resolution_step=32))
    assert min(fit.r_squared) > 0.97
    assert max(fit.rms) < 0.05
    assert fit.stage_ratio == pytest.approx((6 * 9 + 4 * 4 + 4 * 7) / (81 + 16 + 49))
    paper = explained(named_rule("cmt-paper", base=CMT_S), variants=[TI, XS, B])
    assert paper.rms[1] > 3 * fit.rms[1]
    assert [gap.arch for gap in paper.variants] == [TI, XS, B]


def test_the_base_among_the_variants_changes_no_share() -> None:
    fit, with_base = (fitted_rule(CMT_S, variants=v) for v in ([TI, B], [TI, CMT_S, B]))
    assert with_base.rule.shares == fit.rule.shares
    assert with_base.variants[1].gaps == pytest.approx((0, 0, 0), abs=1e-12)


def test_wider_variants_have_no_stage_ratio() -> None:
    assert fitted_rule(CMT_S, variants=[_wider(CMT_S, 2)]).stage_ratio is None


@pytest.mark.parametrize("variants", [[], [CMT_S]])
def test_no_variant_but_the_base_is_refused(variants: list[Arch]) -> None:
    with pytest.raises(BudgetError) as caught:
        fitted_rule(CMT_S, variants=variants)
    assert str(caught.value) == (
        "no variant differs from the base in MACs; give others than the base"
    )


def test_a_variant_of_other_stages_is_refused() -> None:
    short = replace(B, stages=B.stages[:3])
    message = "a variant has 3 stages, the base 4; give variants of this base"
    with pytest.raises(BudgetError, match=f"^{message}$"):
        fitted_rule(CMT_S, variants=[B, short])
    with pytest.raises(BudgetError, match=f"^{message}$"):
        constant_gaps(CMT_S, constants=PAPER, variants={1: short})
