import re

import pytest

from cmt_search.analysis import (
    Analysis,
    FrontLook,
    analyse,
    curves_data,
    draw_curves,
    draw_front,
    front_data,
    pareto_front,
)
from cmt_search.analysis.figure_parallel import draw_parallel, inside, parallel_data
from cmt_search.analysis.metrics import METRICS
from cmt_search.explorer.figures import curves_figure, trial_curves_figure, triangle_figure
from cmt_search.explorer.front_view import clicked_trial, front_figure, selected_trials
from tests.analysis.studies import free_study, measurement, record, rung


def trace(figure, name):
    return next(t for t in figure.data if (t.name or "").startswith(name))


def click(figure, name, point):
    """What Dash sends for a click, as far as it tells the trial."""
    it = trace(figure, name)
    data = None if it.customdata is None else list(it.customdata[point])
    text = it.text[point] if isinstance(it.text, tuple) else None
    return {"points": [{"customdata": data, "text": text}]}


def test_macs_against_top1_is_the_reports_own_figure(analysis: Analysis) -> None:
    shown, reported = front_figure(analysis), draw_front(front_data(analysis))
    assert shown.layout.title == reported.layout.title
    assert [t.name for t in shown.data] == [t.name for t in reported.data]
    for ours, theirs in zip(shown.data, reported.data, strict=True):
        assert list(ours.x) == list(theirs.x)
        assert list(ours.y) == list(theirs.y)


@pytest.mark.parametrize(("x", "y"), [("params", "loss"), ("top1", "macs"), ("macs", "loss")])
def test_any_two_metrics_show_the_front_that_analysis_computes(
    analysis: Analysis, x: str, y: str
) -> None:
    front = pareto_front(analysis.frame, metrics=(x, y))
    figure = front_figure(analysis, metrics=(x, y), look=FrontLook(log=()))
    drawn = trace(figure, "on the front")
    assert list(drawn.x) == pytest.approx(sorted(METRICS[x].scale * front.members[x]))
    assert len(trace(figure, "dominated").x) == len(front.networks) - len(front.members)
    assert figure.layout.xaxis.title.text == METRICS[x].label
    assert figure.layout.yaxis.title.text == METRICS[y].label


def test_the_log_toggle_changes_one_axis_and_says_so(analysis: Analysis) -> None:
    figure = front_figure(analysis, look=FrontLook(log=("y",)))
    assert (figure.layout.xaxis.type, figure.layout.yaxis.type) == ("linear", "log")
    assert figure.layout.xaxis.title.text == "MACs per image"
    assert figure.layout.yaxis.title.text == "top-1 accuracy (%) (log scale)"
    assert figure.layout.xaxis.tickvals is None
    assert front_figure(analysis).layout.xaxis.ticktext[0] == "1.5M"


def test_new_data_keep_the_view_and_other_axes_reset_it(analysis: Analysis) -> None:
    fewer = analyse(analysis.records[:9])
    revision = front_figure(analysis).layout.uirevision
    assert front_figure(fewer).layout.uirevision == revision
    assert front_figure(analysis, trials=[3]).layout.uirevision == revision
    assert front_figure(analysis, metrics=("params", "top1")).layout.uirevision != revision
    assert front_figure(analysis, look=FrontLook(log=())).layout.uirevision != revision


def test_hidden_traces_are_known_again_by_identifiers_that_plotly_can_select(
    analysis: Analysis,
) -> None:
    figures = [
        front_figure(analysis, trials=[3]),
        front_figure(analysis, metrics=("params", "top1")),
        curves_figure(analysis),
        triangle_figure(analysis),
    ]
    for figure in figures:
        given = [t.uid for t in figure.data if t.uid]
        assert len(set(given)) == len(given) > 0
        assert all(re.fullmatch(r"[a-z][a-z0-9-]*", uid) for uid in given), given
    fewer = front_figure(analyse(analysis.records[:9]))
    assert trace(fewer, "dominated").name != trace(figures[0], "dominated").name  # the count
    assert trace(fewer, "dominated").uid == trace(figures[0], "dominated").uid


@pytest.mark.parametrize(("x", "y"), [("macs", "top1"), ("params", "loss")])
def test_the_selected_trials_networks_are_ringed(analysis: Analysis, x: str, y: str) -> None:
    ring = trace(front_figure(analysis, metrics=(x, y), trials=[4]), "trial 4")
    rungs = analysis.records[4].rungs
    macs = {10 * r.rung.macs if x == "params" else r.rung.macs for r in rungs}
    assert set(ring.x) == macs
    assert len(ring.x) == len(rungs)


def test_a_trial_without_measurement_has_no_ring_to_show(analysis: Analysis) -> None:
    failed = analysis.records[-1].number
    assert len(trace(front_figure(analysis, trials=[failed]), f"trial {failed}").x) == 0


def test_a_click_on_a_network_a_named_rule_or_a_failure_means_its_trial(analysis: Analysis) -> None:
    figure = front_figure(analysis)
    numbers = {r.name: r.number for r in analysis.records}
    for point in range(3):
        assert clicked_trial(analysis, click(figure, "dwr", point)) == numbers["dwr"]
    assert clicked_trial(analysis, click(figure, "failed", 0)) == analysis.records[-1].number
    network = click(figure, "dominated", 5)
    key = front_data(analysis).networks.query("not on_front")["key"].iloc[5]
    trial = analysis.records[clicked_trial(analysis, network)]
    assert key in {r.rung.arch.key for r in trial.rungs}


def test_a_click_on_a_generic_front_means_its_trial(analysis: Analysis) -> None:
    figure = front_figure(analysis, metrics=("params", "loss"))
    trial = analysis.records[clicked_trial(analysis, click(figure, "dominated", 0))]
    assert trace(figure, "dominated").x[0] in {r.rung.params for r in trial.rungs}


def test_a_click_on_a_curve_means_the_trial_that_its_label_names(analysis: Analysis) -> None:
    figure = curves_figure(analysis)
    first = clicked_trial(analysis, click(figure, "1.5 MMACs", 0))
    assert first == analysis.records[0].number
    assert curves_data(analysis).groups[0].labels[0].startswith(analysis.records[0].name)


def test_a_click_in_the_triangle_means_the_nearest_measured_network(analysis: Analysis) -> None:
    realised = analysis.records[7].rungs[-1].rung.realised
    near = {"a": realised.resolution, "b": realised.depth + 0.01, "c": realised.width - 0.01}
    assert clicked_trial(analysis, {"points": [near]}) == 7


@pytest.mark.parametrize("nothing", [None, {}, {"points": []}, {"points": [{"x": 1}]}])
def test_a_click_on_nothing_means_no_trial(analysis: Analysis, nothing: object) -> None:
    assert clicked_trial(analysis, nothing) is None


def test_a_pareto_search_has_a_front_and_no_triangle() -> None:
    free = analyse([record(0, (rung(macs=5000), [measurement(0.5)]))])
    assert triangle_figure(free) is None
    assert trace(front_figure(free), "on the front").x[0] == 5000
    assert clicked_trial(free, {"points": [{"a": 0.2, "b": 0.3, "c": 0.5}]}) is None


def test_a_study_without_measurements_draws_an_empty_front() -> None:
    nothing = analyse([record(0, (rung(), ()), state="running")])
    for x, y in (("macs", "top1"), ("params", "loss")):
        assert len(trace(front_figure(nothing, metrics=(x, y), trials=[0]), "on the front").x) == 0


def test_one_trials_curves_are_those_of_the_study(analysis: Analysis) -> None:
    own = trial_curves_figure(analysis, analysis.records[2])
    assert own is not None
    whole = draw_curves(curves_data(analysis))
    assert [t.name for t in own.data] == ["1.5 MMACs (2)", "3 MMACs (2)", "6 MMACs (2)"]
    for few, many in zip(own.data, whole.data, strict=True):
        assert list(few.y) == list(many.y)[20:30]  # two seeds, four epochs and a gap each
    assert trial_curves_figure(analysis, analysis.records[-1]) is None


def test_a_click_far_from_every_network_means_none(analysis: Analysis) -> None:
    assert clicked_trial(analysis, {"points": [{"a": 0.0, "b": 0.03, "c": 0.97 - 0.3}]}) is None


def test_categories_can_be_switched_off(analysis: Analysis) -> None:
    hide = ("dominated", "failed", "rules", "discovered", "band")
    figure = front_figure(analysis, look=FrontLook(hide=hide))
    assert [t.name for t in figure.data if t.name] == ["on the front (3)"]


def test_a_stopped_trial_is_told_from_the_networks_that_were_trained_in_full() -> None:
    short, full = rung(number=1, macs=1000, epochs=1), rung(number=1, macs=1000, epochs=4)
    stopped = record(0, (short, [measurement(0.9)]), (full, ()), state="pruned", reason="worse")
    infeasible = record(2, state="failed", reason="infeasible: at 9 MACs")
    study = analyse([stopped, record(1, (rung(macs=2000), [measurement(0.5)])), infeasible])
    figure = front_figure(study)
    assert list(trace(figure, "on the front").x) == [2000]
    assert list(trace(figure, "stopped early (1)").y) == [90.0]
    assert trace(figure, "infeasible (1), no network").x == (None,)
    hidden = front_figure(study, look=FrontLook(hide=("stopped",)))
    assert not [t for t in hidden.data if str(t.name).startswith("stopped")]


def test_error_bars_are_standard_errors_by_the_pooled_noise(analysis: Analysis) -> None:
    figure = front_figure(analysis, look=FrontLook(bars=True))
    assert analysis.noise is not None
    expected = 100 * analysis.noise.sd / 2**0.5  # two seeds each
    assert list(trace(figure, "on the front").error_y.array) == pytest.approx([expected] * 3)


def test_an_axis_can_be_flipped_and_a_third_one_added(analysis: Analysis) -> None:
    flipped = front_figure(analysis, look=FrontLook(flip=("x",)))
    assert flipped.layout.xaxis.autorange == "reversed"
    deep = front_figure(analysis, metrics=("macs", "top1", "params"))
    front = pareto_front(analysis.frame, metrics=("macs", "top1", "params"))
    assert trace(deep, "on the front").type == "scatter3d"
    assert len(trace(deep, "on the front").x) == len(front.members)
    assert deep.layout.scene.zaxis.title.text == "parameters"


def test_published_numbers_are_marked_as_published(analysis: Analysis) -> None:
    figure = front_figure(analysis, look=FrontLook(overlays=("published", "baselines")))
    own = trace(figure, "CMT, published (4, ImageNet-1k)")
    assert list(own.y) == pytest.approx([79.2, 81.8, 83.5, 84.5])
    others = trace(figure, "other backbones, published")
    assert len(others.x) > 100
    notes = {row[3] for row in others.customdata}
    assert notes <= {
        "top-1 published (ImageNet-1k), MACs measured",
        "top-1 published (ImageNet-1k), MACs published",
    }
    assert all(row[4] for row in others.customdata)  # a source each
    costly = FrontLook(overlays=("published",))
    unknown = front_figure(analysis, metrics=("seconds", "top1"), look=costly)
    assert "CMT, published" not in {t.name for t in unknown.data}


def test_another_run_is_laid_over_with_its_own_front(analysis: Analysis) -> None:
    other = analyse(analysis.records[:9])
    figure = front_figure(analysis, others={"before": other})
    front = trace(figure, "before: front")
    assert list(front.x) == sorted(other.front.members["macs"])
    assert front.customdata is None  # a click on it opens no trial of this run


def test_a_box_means_the_trials_of_its_points_and_drawing_anew_means_nothing() -> None:
    points = [{"customdata": ["a", 4, 16]}, {"customdata": [2]}, {"x": 1}, {"customdata": [4]}]
    assert selected_trials({"points": points, "range": {"x": [0, 1]}}) == [2, 4]
    assert selected_trials({"points": [], "lassoPoints": {}}) == []
    assert selected_trials({"points": []}) is None
    assert selected_trials(None) is None


def test_trials_that_are_not_selected_fade(analysis: Analysis) -> None:
    figure = front_figure(analysis, look=FrontLook(selected=[4]))
    dominated, front = trace(figure, "dominated"), trace(figure, "on the front")
    shown = len(dominated.selectedpoints) + len(front.selectedpoints)
    assert shown == len(analysis.records[4].rungs)
    assert dominated.unselected.marker.opacity < 0.2


def test_of_many_lines_some_are_drawn_while_a_brush_selects_among_all() -> None:
    data = parallel_data(analyse(free_study(900)))
    figure = draw_parallel(data)
    [lines] = figure.data
    top1 = next(d for d in lines.dimensions if d.label == "top-1 (%)")
    assert len(top1.values) == 600 < len(data.table)
    assert tuple(top1.range) == (data.table["top1"].min(), data.table["top1"].max())
    assert "600 lines are drawn" in figure.layout.title.subtitle.text
    everything = {"top1": [tuple(top1.range)]}
    assert len(inside(data, everything)) == len(data.table)


def test_failures_stand_below_all_accuracies_that_are_shown() -> None:
    figure = front_figure(analyse(free_study(60)))
    crosses = next(t for t in figure.data if str(t.name).startswith("failed"))
    others = [t for t in figure.data if not str(t.name).startswith("failed")]
    assert max(crosses.y) < min(min(t.y) for t in others)
