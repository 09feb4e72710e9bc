from dataclasses import replace

import pytest

from cmt_search.analysis import (
    Analysis,
    analyse,
    equivalence_set_text,
    explanation,
    headline,
    summary,
)
from cmt_search.stats import SMALLEST_EFFECT, Coverage
from cmt_search.stats.simulation import NOMINAL
from tests.analysis.studies import BASE_MACS, NAMED, PAPER, flat, peak, rule_study


def analysed(truth, *, noise: float, n: int, seed: int = 0) -> Analysis:
    records = rule_study(truth, noise=noise)
    return analyse(
        records, base_macs=BASE_MACS, paper=PAPER, named=NAMED, n_simulations=n, seed=seed
    )


@pytest.fixture(scope="module")
def simulated() -> Analysis:
    return analysed(flat, noise=0.004, n=30)


@pytest.fixture(scope="module")
def plain() -> Analysis:
    return analysed(flat, noise=0.004, n=0)


def coverage_of(analysis: Analysis) -> Coverage:
    assert analysis.verdict is not None
    assert analysis.verdict.simulated is not None
    return analysis.verdict.simulated


def test_the_set_is_widened_until_it_holds_the_best_often_enough(simulated: Analysis) -> None:
    found = coverage_of(simulated)
    assert found.n_simulations == 30
    assert min(found.fit, found.null) >= NOMINAL
    assert simulated.verdict is not None
    assert simulated.verdict.margin == found.margin >= SMALLEST_EFFECT


def test_a_widened_set_is_the_larger_one_on_the_map_and_in_the_sentence(
    simulated: Analysis, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = replace(coverage_of(simulated), margin=0.012)
    monkeypatch.setattr("cmt_search.analysis.verdict.simulate_coverage", lambda *_, **asked: found)
    narrow, wide = (analysed(peak, noise=0.002, n=n) for n in (0, 1))
    assert narrow.triangle is not None
    assert wide.triangle is not None
    assert wide.verdict is not None
    assert (wide.triangle.equivalent >= narrow.triangle.equivalent).all()
    assert wide.triangle.equivalent.sum() > narrow.triangle.equivalent.sum()
    assert wide.verdict.tied_fraction == pytest.approx(wide.triangle.equivalent.mean())
    assert "margin 0.3 pp" in equivalence_set_text(narrow)
    assert "margin 1.2 pp" in equivalence_set_text(wide)
    assert "worse by more than 1.2 pp" in headline(wide.verdict)


def test_without_simulations_the_text_says_where_they_are(plain: Analysis) -> None:
    assert plain.verdict is not None
    assert plain.verdict.simulated is None
    assert plain.verdict.margin == SMALLEST_EFFECT
    assert "is simulated by `report`." in " ".join(explanation(plain.verdict))


def test_the_report_says_how_often_the_set_held_the_best(simulated: Analysis) -> None:
    assert simulated.verdict is not None
    given = replace(coverage_of(simulated), fit=0.93, null=0.9, margin=0.0052, n_simulations=200)
    text = " ".join(explanation(replace(simulated.verdict, simulated=given)))
    for figure in ("93% of 200 studies", "90% of as many", "from 0.30 to 0.52 pp"):
        assert figure in text
    wide_enough = replace(given, margin=SMALLEST_EFFECT)
    text = " ".join(explanation(replace(simulated.verdict, simulated=wide_enough)))
    assert "calibrated from" not in text


def test_the_summary_holds_the_simulation(simulated: Analysis) -> None:
    found = coverage_of(simulated)
    verdict = summary(simulated)["verdict"]
    assert verdict["simulated"]["margin"] == found.margin == verdict["margin"]
    assert verdict["simulated"]["n_simulations"] == found.n_simulations


def test_the_same_seed_simulates_the_same_studies(simulated: Analysis) -> None:
    assert coverage_of(analysed(flat, noise=0.004, n=30)) == coverage_of(simulated)


def test_a_clear_truth_stays_resolved_after_simulation() -> None:
    analysis = analysed(peak, noise=0.002, n=20)
    assert analysis.verdict is not None
    assert analysis.verdict.status == "resolved"
