import numpy as np
import pytest

from cmt_search.analysis import (
    Analysis,
    analyse,
    curves_data,
    draw_curves,
    draw_front,
    draw_rules,
    draw_triangle,
    figures,
    front_data,
    rules_data,
    triangle_data,
)
from cmt_search.errors import AnalysisError
from tests.analysis.studies import (
    BASE_MACS,
    NAMED,
    PAPER,
    measurement,
    peak,
    record,
    rule_study,
    rung,
)


@pytest.fixture(scope="module")
def analysis() -> Analysis:
    failed = record(
        17, (rung(number=99, macs=3_000_000, budget=3e6), []), state="failed", reason="NaN"
    )
    return analyse(
        [*rule_study(peak, noise=0.002), failed],
        base_macs=BASE_MACS,
        paper=PAPER,
        named=NAMED,
        native_resolution=28,
        sides=lambda shares: 14 * np.exp(shares[:, 2] * 1.16),
    )


def test_the_front_shows_networks_failures_rules_and_the_discovered_rule(
    analysis: Analysis,
) -> None:
    data = front_data(analysis)
    assert len(data.networks) == 51
    assert data.failed["reason"].tolist() == ["NaN"]
    assert set(data.rules["name"]) == set(NAMED)
    assert len(data.best) == 3
    assert ((data.best["low"] < data.best["top1"]) & (data.best["top1"] < data.best["high"])).all()
    names = {trace.name for trace in draw_front(data).data}
    assert {"on the front (3)", "dominated (48)", "failed (1), no accuracy", "dwr"} <= names


def test_the_front_is_drawn_in_per_cent_on_a_log_axis(analysis: Analysis) -> None:
    figure = draw_front(front_data(analysis))
    assert figure.layout.xaxis.type == "log"
    assert figure.layout.yaxis.title.text == "top-1 accuracy (%)"
    front = next(trace for trace in figure.data if trace.name == "on the front (3)")
    assert max(front.y) == pytest.approx(100 * analysis.front.networks["top1"].max())


def test_the_triangle_shows_the_numbers_of_the_verdict(analysis: Analysis) -> None:
    data = triangle_data(analysis)
    assert len(data.measured) == 17
    figure = draw_triangle(data)
    star = next(trace for trace in figure.data if trace.name == "best rule")
    assert analysis.verdict is not None
    assert (star.b[0], star.c[0], star.a[0]) == analysis.verdict.best.values
    equals = next(trace for trace in figure.data if str(trace.name).startswith("within 0.3"))
    assert len(equals.a) == data.triangle.equivalent.sum()
    beyond = next(trace for trace in figure.data if str(trace.name).startswith("beyond native"))
    assert len(beyond.a) == (~data.triangle.feasible).sum()
    assert figure.layout.title.text.startswith("Resolved: ")


def test_a_search_without_rules_has_no_triangle() -> None:
    with pytest.raises(
        AnalysisError, match="the triangle cannot be drawn: This search compares networks"
    ):
        triangle_data(analyse([]))


def test_curves_are_grouped_by_budget_and_each_training_appears_once(analysis: Analysis) -> None:
    data = curves_data(analysis)
    assert data.names == ("1.5 MMACs", "3 MMACs", "6 MMACs")
    assert [len(group.labels) for group in data.groups] == [34, 34, 34]
    assert draw_curves(data).layout.title.text.startswith("Accuracy rises with the budget: ")
    again = rung(number=5)
    twice = analyse([record(i, (again, [measurement(0.5)])) for i in range(2)])
    assert [len(group.labels) for group in curves_data(twice).groups] == [1]


def test_curves_of_a_search_without_budgets_are_grouped_by_length() -> None:
    trial = record(0, *((rung(epochs=e), [measurement(0.5 + e / 100, epochs=e)]) for e in (2, 6)))
    data = curves_data(analyse([trial]))
    assert data.names == ("2 epochs", "6 epochs")
    assert draw_curves(data).layout.title.text == "Trainings of 6 epochs end at 56.0% on average"


def test_rules_are_ranked_and_the_papers_own_is_the_zero_line(analysis: Analysis) -> None:
    data = rules_data(analysis)
    assert "cmt-paper" not in data.names
    assert data.names[0] == "uniform"
    assert draw_rules(data).layout.title.text == (
        "At 6 MMACs: 3 better than the paper's rule, 3 worse, 0 not distinguishable"
    )


def test_every_figure_has_a_title_and_units_on_its_axes(analysis: Analysis) -> None:
    drawn = figures(analysis)
    assert list(drawn) == [
        *("triangle", "front", "rules", "curves", "parallel", "progress", "failures")
    ]
    for name, figure in drawn.items():
        assert figure.layout.title.text
        if name not in ("triangle", "parallel", "progress"):  # axes of other names
            assert figure.layout.xaxis.title.text


def test_an_empty_study_draws_what_says_so() -> None:
    drawn = figures(analyse([]))
    assert drawn["front"].layout.title.text == "No network is measured at full fidelity yet"
    assert draw_curves(curves_data(analyse([]))).layout.title.text == "Nothing is trained yet"


def test_of_many_curves_some_are_drawn_from_the_worst_to_the_best() -> None:
    trials = [record(i, (rung(number=i), [measurement(0.5 + i / 1000)])) for i in range(100)]
    data = curves_data(analyse(trials), most=10)
    finals = [curve[-1] for group in data.groups for curve in group.top1]
    assert (len(finals), data.trainings) == (10, 100)
    assert (min(finals), max(finals)) == (pytest.approx(0.5), pytest.approx(0.599))
    assert "10 of 100 trainings" in draw_curves(data).layout.title.subtitle.text


def test_the_surface_at_another_budget_is_that_of_the_response(analysis: Analysis) -> None:
    surface, triangle = analysis.surface, analysis.triangle
    assert surface is not None
    assert triangle is not None
    assert analysis.paper is not None
    low = float(surface.budgets[0])
    data, log_macs_ratio = triangle_data(analysis, budget=low), float(surface.log_macs_ratios[0])
    effect = surface.effect(triangle.shares, log_macs_ratio=log_macs_ratio)
    to_paper = effect - surface.effect(analysis.paper.values, log_macs_ratio=log_macs_ratio)
    assert data.triangle.difference == pytest.approx(to_paper.mean(axis=0))
    assert not data.extrapolated
    beyond = triangle_data(analysis, budget=3 * float(surface.budgets[-1]))
    assert "extrapolated" in draw_triangle(beyond).layout.title.subtitle.text


def test_the_triangle_marks_a_chosen_point(analysis: Analysis) -> None:
    figure = draw_triangle(triangle_data(analysis), chosen=PAPER)
    point = next(trace for trace in figure.data if trace.name == "chosen point")
    assert (point.b[0], point.c[0], point.a[0]) == PAPER.values
