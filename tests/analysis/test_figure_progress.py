import pytest

from cmt_search.analysis import (
    analyse,
    curves_data,
    draw_curves,
    draw_failures,
    draw_progress,
    failures_data,
    progress_data,
)
from tests.analysis.studies import free_study, measurement, record, rung


def trial(number: int, macs: int, top1: float):
    return record(number, (rung(number=number, macs=macs), [measurement(top1)]))


def test_the_progress_ends_at_the_hypervolume_of_the_front() -> None:
    study = analyse([trial(0, 300, 0.5), trial(1, 200, 0.4), trial(2, 200, 0.6)])
    data = progress_data(study)
    assert data.volume["trials"].tolist() == [1, 2, 3]
    assert data.volume["value"].is_monotonic_increasing
    assert data.volume["value"].iloc[-1] == pytest.approx(study.front.normalized_hypervolume)
    assert data.best["all"]["value"].tolist() == pytest.approx([0.5, 0.5, 0.6])
    assert data.volume["hours"].iloc[-1] == pytest.approx(9 / 3600)  # three seconds each


def test_of_many_trials_the_last_point_is_still_the_fronts() -> None:
    study = analyse(free_study(900))
    data = progress_data(study)
    assert 100 < len(data.volume) <= 250
    assert data.volume["value"].iloc[-1] == pytest.approx(study.front.normalized_hypervolume)
    title = draw_progress(data).layout.title.text
    assert title.startswith("99% of the current hypervolume was reached after ")


def test_failures_are_counted_by_reason_whatever_the_numbers_in_it() -> None:
    reasons = ["loss is NaN in epoch 2", "loss is NaN in epoch 11", "out of memory", None]
    trials = [
        record(i, (rung(number=i), []), state="failed", reason=reason)
        for i, reason in enumerate(reasons)
    ]
    trials.append(record(9, state="failed", reason="infeasible: no network"))  # has not failed
    counts = failures_data(analyse(trials))
    assert counts == {"loss is NaN in epoch 2": 2, "out of memory": 1, "unknown": 1}


def test_reasons_beyond_the_most_frequent_are_counted_and_not_kept_silent() -> None:
    counts = {f"reason {chr(97 + i)}": 20 - i for i in range(15)}
    figure = draw_failures(counts)
    assert len(figure.data[0].x) == 12
    assert figure.layout.title.text == "195 trials failed, for 15 reasons"
    assert figure.layout.title.subtitle.text == (
        "The 12 most frequent reasons; 21 trials failed for others"
    )
    assert not draw_failures({"one": 1, "other": 2}).layout.title.subtitle.text


def test_before_anything_is_measured_there_are_no_axes() -> None:
    none, some = analyse([]), analyse([trial(0, 300, 0.5)])
    for figure in (draw_progress(progress_data(none)), draw_curves(curves_data(none))):
        assert figure.layout.xaxis.visible is False
        assert figure.layout.title.text.endswith("yet")
    for figure in (draw_progress(progress_data(some)), draw_curves(curves_data(some))):
        assert figure.layout.xaxis.visible is None
    assert draw_curves(curves_data(some)).layout.title.subtitle.text == "1 training, one line each"
