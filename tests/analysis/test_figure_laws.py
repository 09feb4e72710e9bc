import pytest

from cmt_search.analysis import Analysis
from cmt_search.analysis.figure_estimators import draw_shares, shares_data
from cmt_search.analysis.figure_laws import accuracy_data, draw_accuracy
from cmt_search.analysis.report_laws import law_figures
from tests.analysis.studies import BASE_MACS, NAMED


def test_curves_reach_to_twice_what_was_measured_and_points_are_of_every_rule(
    four: Analysis,
) -> None:
    data = accuracy_data(four)
    assert data is not None
    assert set(data.points) == set(NAMED)
    assert four.verdict is not None
    assert set(data.curves) == {"cmt-paper", four.verdict.nearest}
    assert data.largest == 50 * BASE_MACS
    for curve in data.curves.values():
        assert curve[0].macs == pytest.approx(3 * BASE_MACS)
        assert curve[-1].macs == pytest.approx(100 * BASE_MACS)


def test_the_bands_enclose_the_curve_and_the_wider_one_the_narrower(four: Analysis) -> None:
    data = accuracy_data(four)
    assert data is not None
    figure = draw_accuracy(data)
    wide, narrow, curve = figure.data[:3]
    steps = len(curve.x)
    for band in (wide, narrow):
        assert list(band.x) == [*curve.x, *curve.x[::-1]]
        high, low = band.y[:steps], band.y[steps:][::-1]
        assert all(b <= y <= a for a, y, b in zip(high, curve.y, low, strict=True))
    assert max(wide.y) > max(narrow.y)
    assert figure.layout.xaxis.type == "log"
    assert 50 < curve.y[0] < 100  # per cent
    assert figure.layout.title.text.startswith("Expected at 50 MMACs: cmt-paper ")


def test_shares_are_drawn_by_estimator_with_the_paper_s_rule(four: Analysis) -> None:
    data = shares_data(four)
    assert data is not None
    figure = draw_shares(data)
    assert [trace.name for trace in figure.data] == [
        "by the best shapes",
        "by the parametric law",
        "paper's rule",
    ]
    assert all(len(trace.x) == 6 for trace in figure.data)  # three dimensions, local and average
    assert set(figure.layout.yaxis.ticktext) == {
        f"{name}, {kind}"
        for name in ("depth", "width", "resolution")
        for kind in ("local", "average")
    }
    assert figure.layout.title.text == "Both estimators agree on the rule of 4 budgets"


def test_the_title_says_when_no_rule_is_identified(noise: Analysis) -> None:
    data = shares_data(noise)
    assert data is not None
    assert draw_shares(data).layout.title.text == "4 budgets do not identify a rule"


def test_a_study_of_two_budgets_has_no_figure_of_laws(unbalanced: Analysis) -> None:
    assert law_figures(unbalanced) == {}


def test_a_study_of_four_budgets_has_both(four: Analysis) -> None:
    assert set(law_figures(four)) == {"accuracy", "shares"}
