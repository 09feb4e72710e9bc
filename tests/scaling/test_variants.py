"""Published variants against rules: the best one, and the one that their paper prints."""

import math
from dataclasses import replace

import numpy as np
import pytest

from cmt_search.arch import Arch
from cmt_search.cost import cost
from cmt_search.errors import BudgetError
from cmt_search.presets import PRESETS
from cmt_search.scaling import fit_rule, named_rule, realised_coordinates, realised_shares

CMT_S = PRESETS["cmt_s"]
TI, XS, B = (PRESETS[name] for name in ("cmt_ti", "cmt_xs", "cmt_b"))


def _deeper(base: Arch, times: int) -> Arch:
    return replace(base, stages=tuple(replace(s, depth=times * s.depth) for s in base.stages))


def _wider(base: Arch, times: int) -> Arch:
    stages = tuple(replace(s, width=times * s.width) for s in base.stages)
    return replace(base, stem_width=times * base.stem_width, stages=stages)


def test_the_shares_of_one_variant_are_its_realised_ones() -> None:
    shares, residual = realised_shares(CMT_S, B)
    assert shares is not None
    assert abs(residual) < 1e-9
    fit = fit_rule(CMT_S, variants=[B])
    assert fit.rule.shares.values == pytest.approx(shares.values, abs=1e-9)


def test_variants_that_a_rule_made_are_explained_by_it_wholly() -> None:
    fit = fit_rule(CMT_S, variants=[_deeper(CMT_S, 2), _deeper(CMT_S, 4)])
    assert fit.rule.shares.values == pytest.approx((1, 0, 0), abs=1e-9)
    assert fit.rms == pytest.approx((0, 0, 0), abs=1e-9)
    assert fit.r_squared[0] == pytest.approx(1, abs=1e-9)
    assert np.isnan(fit.r_squared[1:]).all()  # no variant differs in width or resolution


def test_larger_variants_weigh_more_as_least_squares_says() -> None:
    variants = [_deeper(CMT_S, 2), _wider(CMT_S, 2), B]
    growths = np.array([math.log(cost(v).macs / cost(CMT_S).macs) for v in variants])
    shares = np.array([realised_shares(CMT_S, v)[0].values for v in variants])
    solution, *_ = np.linalg.lstsq(growths[:, None], growths[:, None] * shares, rcond=None)
    fit = fit_rule(CMT_S, variants=variants)
    assert fit.rule.shares.values == pytest.approx(solution[0], abs=1e-9)


def test_the_published_variants_are_explained_by_one_rule_that_is_not_the_paper_s() -> None:
    fit = fit_rule(CMT_S, variants=[TI, XS, B])
    assert fit.rule.shares.values == pytest.approx((0.22, 0.40, 0.38), abs=0.01)
    assert min(fit.r_squared) > 0.97
    assert max(fit.rms) < 0.05
    paper = named_rule("cmt-paper", base=CMT_S)
    residuals = [realised_coordinates(CMT_S, v) - paper.ideal(cost(v).macs) for v in (TI, XS, B)]
    assert np.sqrt(np.mean(np.square(residuals), axis=0))[1] > 3 * fit.rms[1]


def test_the_base_among_the_variants_changes_no_share() -> None:
    fit, with_base = (fit_rule(CMT_S, variants=v) for v in ([TI, B], [TI, CMT_S, B]))
    assert with_base.rule.shares == fit.rule.shares
    assert with_base.r_squared == pytest.approx(fit.r_squared, abs=1e-12)


@pytest.mark.parametrize("variants", [[], [CMT_S]])
def test_no_variant_but_the_base_is_refused(variants: list[Arch]) -> None:
    with pytest.raises(BudgetError) as caught:
        fit_rule(CMT_S, variants=variants)
    assert str(caught.value) == (
        "no variant differs from the base in MACs; give others than the base"
    )


def test_a_variant_of_other_stages_is_refused() -> None:
    short = replace(B, stages=B.stages[:3])
    message = "a variant has 3 stages, the base 4; give variants of this base"
    with pytest.raises(BudgetError, match=f"^{message}$"):
        fit_rule(CMT_S, variants=[B, short])
