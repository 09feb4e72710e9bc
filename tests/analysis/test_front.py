from dataclasses import replace

import pytest

from cmt_search.analysis import analyse, front_rows, pareto_front, summary, trainings_frame
from cmt_search.analysis.figure_front import front_headline
from cmt_search.errors import AnalysisError
from tests.analysis.studies import measurement, record, rung


def trial(number: int, macs: int, *top1: float, epochs: int = 4):
    seen = [measurement(value, seed=seed) for seed, value in enumerate(top1)]
    return record(number, (rung(number=number, macs=macs, epochs=epochs), seen))


def test_dominated_networks_are_flagged_and_the_front_is_in_order() -> None:
    front = pareto_front(
        trainings_frame([trial(0, 200, 0.7), trial(1, 100, 0.5), trial(2, 150, 0.4)])
    )
    assert front.networks["on_front"].tolist() == [True, True, False]
    assert front.members["macs"].tolist() == [100, 200]


def test_the_hypervolume_is_the_area_between_front_and_reference() -> None:
    frame = trainings_frame([trial(0, 100, 0.5), trial(1, 200, 0.7), trial(2, 150, 0.4)])
    front = pareto_front(frame, reference=(300, 0.1))
    assert front.hypervolume == pytest.approx((300 - 100) * 0.4 + (300 - 200) * 0.2)
    assert front.normalized_hypervolume == pytest.approx(front.hypervolume / (300 * 0.9))


def test_the_default_reference_is_a_tenth_beyond_the_largest_cost_at_no_accuracy() -> None:
    front = pareto_front(trainings_frame([trial(0, 100, 0.5), trial(1, 200, 0.7)]))
    assert front.reference == (pytest.approx(220), 0.0)
    assert front.hypervolume == pytest.approx(120 * 0.5 + 20 * 0.2)


def test_seeds_are_averaged_before_networks_are_compared() -> None:
    lucky = trial(0, 100, 0.9, 0.1)
    steady = trial(1, 100, 0.6, 0.6)
    front = pareto_front(trainings_frame([lucky, steady]))
    assert front.members["top1"].tolist() == [pytest.approx(0.6)]


def test_low_fidelity_and_failures_do_not_stand_on_the_front() -> None:
    stopped = record(
        0,
        (rung(epochs=1, macs=50), [measurement(0.9)]),
        (rung(epochs=4, macs=50), []),
        state="pruned",
    )
    failed = record(1, (rung(number=1, macs=10), []), state="failed", reason="out of memory")
    front = pareto_front(trainings_frame([stopped, failed, trial(2, 100, 0.5)]))
    assert front.members["macs"].tolist() == [100]
    assert len(front.networks) == 1


def test_metrics_are_free_and_keep_their_directions() -> None:
    frame = trainings_frame([trial(0, 100, 0.5), trial(1, 200, 0.7), trial(2, 300, 0.6)])
    front = pareto_front(frame, metrics=("params", "macs", "loss"))
    assert front.members["macs"].tolist() == [100, 200]


def test_an_empty_study_has_an_empty_front() -> None:
    front = pareto_front(trainings_frame([]))
    assert (len(front.networks), front.hypervolume) == (0, 0.0)


def test_an_unknown_metric_is_refused_with_those_that_exist() -> None:
    with pytest.raises(AnalysisError, match="metric 'flops' is unknown; use one of top1, loss"):
        pareto_front(trainings_frame([]), metrics=("flops",))


def test_a_reference_of_another_length_is_refused() -> None:
    with pytest.raises(AnalysisError, match="reference has 1 values for 2 metrics"):
        pareto_front(trainings_frame([]), reference=(1.0,))


def test_the_finding_does_not_call_rounding_of_one_budget_a_rise() -> None:
    front = pareto_front(
        trainings_frame([trial(0, 1000, 0.5), trial(1, 1010, 0.6), trial(2, 3000, 0.4)])
    )
    assert front_headline(front.networks) == "The front ends with 60.0% at 1.01 kMACs"


def test_the_table_and_the_json_of_a_front_have_trials_and_every_objective() -> None:
    trials = [
        record(
            10 + i,
            (
                replace(rung(number=i, macs=100 * 10**i), latency_ms=2.0 + i),
                [measurement(0.5 + i / 9)],
            ),
        )
        for i in range(3)
    ]
    study = analyse(trials, metrics=("latency_ms", "top1"))
    rows = list(front_rows(study))
    assert [row["trial"] for row in rows] == ["10", "11", "12"]
    assert [row["latency"] for row in rows] == ["2 ms", "3 ms", "4 ms"]
    front = summary(study)["front"]
    assert [row["trial"] for row in front] == [10, 11, 12]
    assert [row["latency_ms"] for row in front] == [2.0, 3.0, 4.0]
    assert {"macs", "params", "top1", "loss"} <= set(front[0])
