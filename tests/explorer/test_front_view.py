import json
import re
from dataclasses import replace

import pytest

from cmt_search.analysis import (
    Analysis,
    FrontStyle,
    analyse,
    curves_data,
    draw_curves,
    draw_front,
    front_data,
    pareto_front,
)
from cmt_search.analysis.figure_front import CATEGORIES
from cmt_search.analysis.figure_parallel import draw_parallel, inside, parallel_data
from cmt_search.analysis.metrics import METRICS
from cmt_search.explorer.figures import curves_figure, trial_curves_figure, triangle_figure
from cmt_search.explorer.front_view import clicked_trial, front_figure, selected_trials
from tests.analysis.studies import PAPER, free_study, measurement, record, rung


def trace(figure, name):
    return next(t for t in figure.data if (t.name or "").startswith(name))


def subtitle(figure):
    return figure.layout.title.subtitle.text


def click(figure, name, point):
    """What Dash sends for a click, as far as it tells the trial."""
    it = trace(figure, name)
    data = None if it.customdata is None else json.loads(json.dumps(list(it.customdata[point])))
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
    figure = front_figure(analysis, metrics=(x, y), look=FrontStyle(log=()))
    drawn = trace(figure, "on the front")
    assert list(drawn.x) == pytest.approx(sorted(METRICS[x].scale * front.members[x]))
    assert len(trace(figure, "dominated").x) == len(front.networks) - len(front.members)
    assert figure.layout.xaxis.title.text == METRICS[x].label
    assert figure.layout.yaxis.title.text == METRICS[y].label


def test_the_log_toggle_changes_one_axis_and_says_so(analysis: Analysis) -> None:
    figure = front_figure(analysis, look=FrontStyle(log=("y",)))
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
    assert front_figure(analysis, look=FrontStyle(log=())).layout.uirevision != revision


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
    hide = tuple(CATEGORIES)
    figure = front_figure(analysis, look=FrontStyle(hide=hide))
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
    for category, start in (("stopped", "stopped early"), ("infeasible", "infeasible")):
        hidden = front_figure(study, look=FrontStyle(hide=(category,)))
        gone = {t.name for t in figure.data} - {t.name for t in hidden.data}
        assert [name.split(" (")[0] for name in gone] == [start]


def test_error_bars_are_standard_errors_by_the_pooled_noise(analysis: Analysis) -> None:
    figure = front_figure(analysis, look=FrontStyle(bars=True))
    assert analysis.noise is not None
    expected = 100 * analysis.noise.sd / 2**0.5  # two seeds each
    assert list(trace(figure, "on the front").error_y.array) == pytest.approx([expected] * 3)


def test_an_axis_can_be_flipped_and_a_third_one_added(analysis: Analysis) -> None:
    flipped = front_figure(analysis, look=FrontStyle(flip=("x",)))
    assert flipped.layout.xaxis.autorange == "reversed"
    deep = front_figure(analysis, metrics=("macs", "top1", "params"))
    front = pareto_front(analysis.frame, metrics=("macs", "top1", "params"))
    assert trace(deep, "on the front").type == "scatter3d"
    assert len(trace(deep, "on the front").x) == len(front.members)
    assert deep.layout.scene.zaxis.title.text == "parameters"


def test_published_numbers_are_marked_as_published(analysis: Analysis) -> None:
    figure = front_figure(analysis, look=FrontStyle(overlays=("published", "baselines")))
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
    costly = FrontStyle(overlays=("published",))
    unknown = front_figure(analysis, metrics=("seconds", "top1"), look=costly)
    assert not [t for t in unknown.data if str(t.name).startswith("CMT, published")]
    assert "CMT, published (no training time known)" in subtitle(unknown)
    assert "Not drawn" not in subtitle(figure)


def test_another_run_is_laid_over_with_its_own_front(analysis: Analysis) -> None:
    other = analyse(analysis.records[:9])
    figure = front_figure(analysis, others={"before": other})
    front = trace(figure, "before: front")
    assert list(front.x) == sorted(other.front.members["macs"])
    assert front.customdata is None  # a click on it opens no trial of this run


def test_a_box_means_the_trials_of_its_points_and_drawing_anew_means_nothing() -> None:
    points = [{"customdata": ["a", 16, [4, 7]]}, {"customdata": [2]}, {"x": 1}]
    points += [{"customdata": [4]}, {"customdata": ["published", 224, "its source"]}]
    assert selected_trials({"points": points, "range": {"x": [0, 1]}}) == [2, 4, 7]
    assert selected_trials({"points": [], "lassoPoints": {}}) == []
    assert selected_trials({"points": []}) is None
    assert selected_trials(None) is None


def test_trials_that_are_not_selected_fade(analysis: Analysis) -> None:
    figure = front_figure(analysis, look=FrontStyle(selected=[4]))
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


@pytest.fixture(scope="module")
def twins() -> Analysis:
    """Trials 0 and 2 are one network, measured once; 3 was stopped on it, and 1 is another."""
    first, other = rung(number=0, macs=1000), rung(number=1, macs=2000)
    short = replace(first, fidelity=replace(first.fidelity, epochs=1))
    return analyse(
        [
            record(0, (first, [measurement(0.5)]), name="a"),
            record(1, (other, [measurement(0.7)]), name="b"),
            record(2, (first, [measurement(0.5)]), name="c"),
            record(3, (short, [measurement(0.3, epochs=1)]), (first, ()), state="pruned"),
            record(4, (rung(number=4, macs=1500), ()), state="failed", reason="NaN"),
            record(5, state="failed", reason="infeasible: at 9 MACs"),
        ]
    )


def whole_box(figure):
    """What Dash sends for a box around everything."""
    points = [{"customdata": row} for t in figure.data for row in as_sent(t)]
    return {"points": points, "range": {"x": [0, 1]}}


def as_sent(drawn):
    return json.loads(drawn.to_json()).get("customdata", [])


def test_a_brush_over_everything_selects_every_trial_that_has_a_network(twins: Analysis) -> None:
    assert selected_trials(whole_box(front_figure(twins))) == [0, 1, 2, 3, 4]


def test_a_point_names_all_its_trials_and_a_click_shows_the_first_or_a_selected_one(
    twins: Analysis,
) -> None:
    def shown(**look) -> tuple[str, int | None]:
        point = as_sent(trace(front_figure(twins, look=FrontStyle(**look)), "on the front"))[0]
        return point[4], clicked_trial(twins, {"points": [{"customdata": point}]})

    assert shown() == ("trials 0, 2, 3", 0)
    assert shown(selected=[2]) == ("trials 2, 0, 3", 2)
    assert "(%{customdata[4]})" in trace(front_figure(twins), "on the front").hovertemplate


def test_of_many_trials_of_a_point_the_first_are_named() -> None:
    same = analyse([record(i, (rung(), [measurement(0.5)])) for i in range(9)])
    [point] = as_sent(trace(front_figure(same), "on the front"))
    assert point[4] == "trials 0, 1, 2, 3, 4, 5 and 3 more"
    assert point[5] == list(range(9))


@pytest.mark.parametrize("trial", [0, 2, 3])
def test_a_selected_trial_keeps_the_point_bright_that_it_shares(
    twins: Analysis, trial: int
) -> None:
    figure = front_figure(twins, look=FrontStyle(selected=[trial]))
    assert trace(figure, "on the front").selectedpoints == (0,)


def test_in_space_those_that_are_not_selected_fade_and_the_legend_names_each_kind_once(
    twins: Analysis,
) -> None:
    space = ("macs", "top1", "params")
    figure = front_figure(twins, metrics=space, look=FrontStyle(selected=[2]))
    front = [t for t in figure.data if t.name == "on the front (2)"]
    assert [(list(t.x), t.opacity) for t in front] == [([1000], None), ([2000], 0.12)]
    assert [t.showlegend for t in front] == [None, False]
    assert len({t.legendgroup for t in front}) == 1
    nothing = front_figure(twins, metrics=space, look=FrontStyle(selected=[]))
    [faded] = [t for t in nothing.data if t.name == "on the front (2)"]
    assert (faded.opacity, faded.showlegend) == (0.12, True)


def test_space_shows_failures_and_says_what_it_cannot_show(
    twins: Analysis, analysis: Analysis
) -> None:
    space = ("macs", "top1", "params")
    figure = front_figure(twins, metrics=space)
    crosses = trace(figure, "failed (1)")
    assert (crosses.type, list(crosses.x), list(crosses.z)) == ("scatter3d", [1500], [15000])
    assert crosses.y[0] < 50.0
    assert trace(figure, "infeasible (1)").x == (None,)
    assert "Not drawn" not in subtitle(figure)  # no seed noise is known
    noisy = front_figure(analysis, metrics=space, look=FrontStyle(bars=True))
    assert subtitle(noisy).endswith(
        "<br>Not drawn: noise band (only in 2-D); error bars (only in 2-D); "
        "discovered rule (only as top-1 against MACs)"
    )
    hidden = front_figure(analysis, metrics=space, look=FrontStyle(hide=("band", "discovered")))
    assert "Not drawn" not in subtitle(hidden)


def test_hover_texts_stay_with_their_points_where_others_have_no_place() -> None:
    def seen(number: int, latency: float | None):
        one = replace(rung(number=number, macs=1000 + number), latency_ms=latency)
        return record(number, (one, [measurement(0.5)]), name="rule", shares=PAPER)

    study = analyse(
        [seen(0, None), seen(1, 4.0)], base_macs=500, paper=PAPER, named={"rule": PAPER}
    )
    figure = front_figure(study, metrics=("latency_ms", "top1"))
    assert clicked_trial(study, click(figure, "rule", 0)) == 1


@pytest.mark.parametrize(
    ("metrics", "said"),
    [
        (("latency_ms", "top1"), "No network has a measured latency yet"),
        (("memory_mib", "latency_ms"), "No network has a measured memory or latency yet"),
        (("macs", "top1"), "The front rises from 50.0% at 1 kMACs to 70.0% at 2 kMACs"),
    ],
)
def test_the_title_says_which_metric_was_never_measured(
    twins: Analysis, metrics: tuple[str, ...], said: str
) -> None:
    figure = front_figure(twins, metrics=metrics)
    assert figure.layout.title.text == said
    assert ("hypervolume" in (subtitle(figure) or "")) == (metrics[0] == "macs")


def test_a_run_that_cannot_be_laid_over_is_named(twins: Analysis) -> None:
    figure = front_figure(twins, look=FrontStyle(missing=["<other>"]))
    assert subtitle(figure).endswith("<br>Not drawn: run &lt;other&gt; (it cannot be read)")
