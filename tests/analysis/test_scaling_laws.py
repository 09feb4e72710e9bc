import json
import math
from dataclasses import replace
from html import unescape

import numpy as np
import pytest
import yaml

from cmt_search.analysis import (
    Analysis,
    BaseLaw,
    FamilyLaw,
    FitFailure,
    analyse,
    law_sentences,
    laws_of,
    render_report,
    summary,
)
from cmt_search.analysis.report_laws import laws_section
from cmt_search.arch import Arch
from cmt_search.cost import cost
from cmt_search.space.load import parse_space
from cmt_search.stats import AccuracyLaw, PowerLaws
from cmt_search.study import base_context
from tests.analysis.conftest import FOUR, REST, SPACE, analyse_laws
from tests.analysis.studies import (
    BASE_MACS,
    LAW,
    NAMED,
    PAPER,
    additive,
    record,
    rule_study,
    rung,
    slope,
    with_images,
)


def said(analysis: Analysis, topic: str) -> str:
    return " ".join(text for text in law_sentences(analysis) if text.startswith(topic))


def test_four_budgets_that_span_8x_identify_the_rule_by_both_estimators(four: Analysis) -> None:
    assert four.laws is not None
    power = four.laws.power
    assert isinstance(power, PowerLaws)
    assert not power.reasons
    log_macs_ratio = math.log(FOUR[-1])
    for rule in (power.by_optima, power.by_law):
        np.testing.assert_allclose(rule.local.values, LAW.shares, atol=0.06)
        assert rule.average is not None
        np.testing.assert_allclose(
            rule.average.values, LAW.allocation(log_macs_ratio) / log_macs_ratio, atol=0.05
        )
    text = said(four, "Power laws")
    assert text.startswith("Power laws: identified, both estimators agree. Shares of growth are by")
    assert text.count("local slope") == text.count("average slope from the base") == 2


def test_the_two_shares_of_an_identified_rule_are_told_apart(four: Analysis) -> None:
    assert four.laws is not None
    assert isinstance(four.laws.power, PowerLaws)
    law = four.laws.power.by_law
    assert law.average is not None
    assert law.local.values[1] > law.average.values[1] + 0.03  # width: 0.42 against 0.35


def test_two_budgets_are_refused_with_the_reason_in_words(unbalanced: Analysis) -> None:
    assert unbalanced.laws is not None
    power = unbalanced.laws.power
    assert isinstance(power, FitFailure)
    text = said(unbalanced, "Power laws")
    assert "not fitted. A power law needs 4 budgets or more that span 8x" in text
    assert "has 2 that span 4x" in text
    assert "only describes the average slope" in text
    curves = said(unbalanced, "Accuracy against MACs of cmt-paper and width-only: no curve.")
    assert "needs 4 sizes of network, and the family has 2 measured" in curves


def base_law(analysis: Analysis) -> BaseLaw:
    assert analysis.laws is not None
    assert isinstance(analysis.laws.base, BaseLaw)
    return analysis.laws.base


def test_an_unbalanced_base_gives_a_correction_and_a_network_of_the_base_s_macs(
    unbalanced: Analysis,
) -> None:
    base = base_law(unbalanced)
    assert base.gradient_test.unbalanced
    assert base.proposal is not None
    proposal, own = base.proposal, SPACE.arch
    assert proposal.arch is not None
    assert proposal.macs == cost(proposal.arch).macs
    assert proposal.macs == pytest.approx(cost(own).macs, rel=SPACE.tolerance)
    assert proposal.arch.key != own.key
    assert proposal.factors[1] > 1.05  # width gains most
    new, old = ([stage.width for stage in arch.stages] for arch in (proposal.arch, own))
    assert sum(new) > sum(old)
    np.testing.assert_allclose(
        np.dot(np.log(proposal.factors), base_context(SPACE).exponents), 0, atol=1e-9
    )
    assert "the base is unbalanced" in said(unbalanced, "Gradient at the base")
    assert "multiply depth by 0." in said(unbalanced, "Base correction")
    assert said(unbalanced, "Proposed base").endswith("space file and search again.")


def test_gains_of_an_unbalanced_base_are_given_per_unit_of_ln_macs(unbalanced: Analysis) -> None:
    test = base_law(unbalanced).gradient_test
    true = 0.04 / math.log(12) * 2 / 3
    assert test.gains.values[1] / test.log_macs_ratio == pytest.approx(true, rel=0.3)
    assert test.gains.low[1] < true * test.log_macs_ratio < test.gains.high[1]


def test_the_report_and_the_verdict_share_one_gradient_test_with_its_threshold(
    unbalanced: Analysis, noise: Analysis
) -> None:
    for analysis in (unbalanced, noise):
        assert analysis.verdict is not None
        assert base_law(analysis).gradient_test == analysis.verdict.gradient_test
        assert "threshold 0.01" in said(analysis, "Gradient at the base")


def test_the_report_gives_the_proposed_base_as_a_space_file_takes_it(
    unbalanced: Analysis,
) -> None:
    section = laws_section(unbalanced)
    assert section is not None
    space = parse_space(f"{REST}{section.base}", source="copy.yaml")
    proposal = base_law(unbalanced).proposal
    assert proposal is not None
    assert space.arch == proposal.arch


def test_a_grid_without_another_network_is_said_to_have_none() -> None:
    study = rule_study(slope, noise=0.001, budgets=(3, 12))
    text = said(analyse_laws(study), "Proposed base")
    assert text.startswith("Proposed base: no network on the space's grid")
    assert base_context(SPACE).solve_at((0.0, 0.0, 0.0)) is None  # the base itself


def test_pure_noise_claims_nothing(noise: Analysis) -> None:
    assert noise.laws is not None
    assert not base_law(noise).gradient_test.unbalanced
    assert base_law(noise).proposal is None
    assert isinstance(noise.laws.power, PowerLaws)
    assert noise.laws.power.reasons
    assert "not shown to be unbalanced" in said(noise, "Gradient at the base")
    assert said(noise, "Base correction") == said(noise, "Proposed base") == ""
    assert "not identified, because" in said(noise, "Power laws")
    assert "No rule follows from the estimates" in said(noise, "Power laws")


def test_accuracy_is_predicted_at_every_budget_and_at_twice_the_largest(four: Analysis) -> None:
    assert four.laws is not None
    families = {family.rule: family for family in four.laws.families}
    assert "cmt-paper" in families
    assert four.verdict is not None
    assert set(families) == {"cmt-paper", four.verdict.nearest}
    paper = families["cmt-paper"]
    assert isinstance(paper.law, AccuracyLaw)
    assert [one.macs / BASE_MACS for one in paper.predictions] == [*FOUR, 100]
    for one in paper.predictions:
        true = additive(np.array(PAPER.values), math.log(one.macs / BASE_MACS))
        assert one.value == pytest.approx(true, abs=0.006)  # a sum of powers is not quite a power
        assert one.next_low <= one.low < one.value < one.high <= one.next_high
    assert "one further training" in said(four, "Accuracy against MACs of cmt-paper")
    assert len(paper.points) == 8  # two seeds at four budgets
    assert "too few to estimate" not in said(four, "Accuracy against MACs of cmt-paper")


def test_a_curve_of_one_seed_at_four_sizes_is_said_to_claim_too_much() -> None:
    found = analyse_laws(rule_study(additive, noise=0.001, budgets=FOUR, seeds=1))
    text = said(found, "Accuracy against MACs of cmt-paper")
    assert "It has 4 trainings" in text
    assert "too few to estimate their noise" in text


def test_validation_images_are_redrawn_where_they_are_known() -> None:
    study = rule_study(slope, noise=0.002, budgets=(3, 12))
    known = analyse_laws(with_images(study, images=1000))
    unknown = analyse_laws(study)
    assert known.laws is not None
    assert unknown.laws is not None
    assert (known.laws.images, unknown.laws.images) == (True, False)
    assert "a bootstrap over networks, seeds and validation images (" in said(known, "Intervals")
    assert "images that were right are not stored" in said(unknown, "Intervals")


def test_accuracies_that_are_not_those_of_their_images_do_not_redraw_images() -> None:
    study = with_images(rule_study(slope, noise=0.002, budgets=(3, 12)), images=1000)
    first = study[0].rungs[0]
    wrong = replace(first.measurements[0], top1=0.123)
    odd = replace(first, measurements=(wrong, *first.measurements[1:]))
    found = analyse_laws((replace(study[0], rungs=(odd, *study[0].rungs[1:])), *study[1:]))
    assert found.laws is not None
    assert not found.laws.images


def test_a_study_too_small_for_any_law_says_so_of_each() -> None:
    for records in ((), (record(0, (rung(macs=1_500_000, budget=1.5e6), [])),)):
        found = analyse_laws(records)
        assert found.laws is not None
        assert isinstance(found.laws.base, FitFailure)
        assert isinstance(found.laws.power, FitFailure)
        assert "not tested. The gradient test needs a verdict" in said(
            found, "Gradient at the base"
        )
        json.dumps(summary(found), allow_nan=False)


def test_laws_are_fitted_on_request_only() -> None:
    study = rule_study(slope, noise=0.002, budgets=(3, 12))
    found = analyse(study, base_macs=BASE_MACS, paper=PAPER, named=NAMED)
    assert found.laws is None
    assert law_sentences(found) == ()
    assert laws_of(found) == {}
    assert summary(found)["laws"] is None
    assert "Laws of scaling" not in render_report(found, title="Search")


@pytest.mark.parametrize("which", ["four", "unbalanced", "noise"])
def test_laws_become_json_without_a_number_that_json_lacks(
    which: str, request: pytest.FixtureRequest
) -> None:
    analysis: Analysis = request.getfixturevalue(which)
    read = json.loads(json.dumps(summary(analysis), allow_nan=False))["laws"]
    assert read == laws_of(analysis)
    assert read["says"] == list(law_sentences(analysis))
    assert {"base", "power", "families"} <= read.keys()
    assert yaml.safe_load(yaml.safe_dump(read)) == read
    assert len(json.dumps(read)) < 20_000  # no draws


def test_what_is_not_finite_becomes_null(four: Analysis) -> None:
    assert four.laws is not None
    assert isinstance(four.laws.power, PowerLaws)
    odd = replace(four.laws, power=replace(four.laws.power, p_value=math.nan))
    assert laws_of(replace(four, laws=odd))["power"]["p_value"] is None


def test_a_proposed_base_is_read_back_from_json(unbalanced: Analysis) -> None:
    read = json.loads(json.dumps(laws_of(unbalanced)))["base"]["proposal"]["arch"]
    assert cost(Arch.from_dict(read)).macs == pytest.approx(cost(SPACE.arch).macs, rel=0.01)


def test_the_report_holds_the_sentences_the_tables_and_the_base(
    four: Analysis, unbalanced: Analysis
) -> None:
    for analysis in (four, unbalanced):
        html = unescape(render_report(analysis, title="Search"))
        for text in law_sentences(analysis):
            assert text in html
    assert "<summary>The proposed base, for a space file</summary>" in html
    section = laws_section(four)
    assert section is not None
    assert [(table.title, len(table.rows)) for table in section.tables] == [
        ("Power laws: shares of growth", 4),
        ("Best shape at each budget", 4),
        ("Accuracy against MACs", 5 * len(curves(four))),
    ]
    assert section.tables[2].rows[-1]["measured here"] == "no"


def curves(analysis: Analysis) -> list[FamilyLaw]:
    assert analysis.laws is not None
    return [family for family in analysis.laws.families if isinstance(family.law, AccuracyLaw)]
