from dataclasses import replace

import pytest

from cmt_search.analysis import Analysis, analyse, equals_text, explanation, headline, summary
from cmt_search.stats import EPS, NOMINAL, Coverage
from tests.analysis.studies import BASE_MACS, NAMED, PAPER, flat, peak, rule_study


def analysed(truth, *, noise: float, studies: int, seed: int = 0) -> Analysis:
    records = rule_study(truth, noise=noise)
    return analyse(
        records, base_macs=BASE_MACS, paper=PAPER, named=NAMED, studies=studies, seed=seed
    )


@pytest.fixture(scope="module")
def simulated() -> Analysis:
    return analysed(flat, noise=0.004, studies=30)


@pytest.fixture(scope="module")
def plain() -> Analysis:
    return analysed(flat, noise=0.004, studies=0)


def coverage_of(analysis: Analysis) -> Coverage:
    assert analysis.verdict is not None
    assert analysis.verdict.simulated is not None
    return analysis.verdict.simulated


def test_the_set_is_widened_until_it_holds_the_best_often_enough(simulated: Analysis) -> None:
    found = coverage_of(simulated)
    assert found.studies == 30
    assert min(found.fit, found.flat) >= NOMINAL
    assert found.asked == EPS
    assert found.widened == (min(found.fit_asked, found.flat_asked) < NOMINAL)
    assert simulated.verdict is not None
    assert simulated.verdict.reach == found.eps >= EPS


def test_a_widened_set_is_the_larger_one_on_the_map_and_in_the_sentence(
    simulated: Analysis, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = replace(coverage_of(simulated), eps=0.012, fit_asked=0.7)
    monkeypatch.setattr("cmt_search.analysis.verdict.empirical_coverage", lambda *_, **asked: found)
    narrow, wide = (analysed(peak, noise=0.002, studies=n) for n in (0, 1))
    assert narrow.triangle is not None
    assert wide.triangle is not None
    assert wide.verdict is not None
    assert (wide.triangle.equivalent >= narrow.triangle.equivalent).all()
    assert wide.triangle.equivalent.sum() > narrow.triangle.equivalent.sum()
    assert wide.verdict.coverage == pytest.approx(wide.triangle.equivalent.mean())
    assert "within 0.3 points" in equals_text(narrow)
    assert "within 1.2 points" in equals_text(wide)
    assert "worse by more than 1.2 points" in headline(wide.verdict)


def test_without_simulations_the_text_says_where_they_are(plain: Analysis) -> None:
    assert plain.verdict is not None
    assert plain.verdict.simulated is None
    assert plain.verdict.reach == EPS
    assert "is simulated by `report`." in " ".join(explanation(plain.verdict))


def test_the_report_says_how_often_the_set_held_the_best(simulated: Analysis) -> None:
    assert simulated.verdict is not None
    given = replace(coverage_of(simulated), fit=0.93, flat=0.9, eps=0.0052, studies=200)
    says = explanation(replace(simulated.verdict, simulated=given))
    assert (
        "The set of equals holds the best rule in 93% of 200 studies simulated from the fit, and "
        "90% of as many in which no rule differs, after widening it from 0.30 to 0.52 points."
    ) in says
    wide_enough = replace(given, eps=given.asked)
    says = explanation(replace(simulated.verdict, simulated=wide_enough))
    assert any(text.endswith("90% of as many in which no rule differs.") for text in says)


def test_the_summary_holds_the_simulation(simulated: Analysis) -> None:
    found = coverage_of(simulated)
    verdict = summary(simulated)["verdict"]
    assert verdict["simulated"]["eps"] == found.eps == verdict["reach"]
    assert sum(verdict["simulated"]["flat_words"].values()) == found.studies


def test_the_same_seed_simulates_the_same_studies(simulated: Analysis) -> None:
    assert coverage_of(analysed(flat, noise=0.004, studies=30)) == coverage_of(simulated)


def test_a_clear_truth_stays_resolved_after_simulation() -> None:
    analysis = analysed(peak, noise=0.002, studies=20)
    assert analysis.verdict is not None
    assert analysis.verdict.word == "resolved"
    assert coverage_of(analysis).fit_words["resolved"] >= 15
    assert coverage_of(analysis).flat_words["resolved"] <= 2
