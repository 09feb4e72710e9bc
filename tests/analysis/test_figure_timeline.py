from dataclasses import replace

import pytest

from cmt_search.analysis import analyse, draw_timeline, timeline_data
from tests.analysis.studies import measurement, record, rung


def trial(number: int, macs: int, top1: float):
    return record(number, (rung(number=number, macs=macs), [measurement(top1)]))


def at(number: int, *spans: tuple[str, float, float], reused: bool = False):
    """A trial whose seeds were trained by these workers from and to these seconds."""
    seeds = [
        replace(measurement(0.5, seed=i), worker=worker, began=began, ended=ended)
        for i, (worker, began, ended) in enumerate(spans)
    ]
    made = record(number, (rung(number=number, macs=100 + number), seeds))
    (only,) = made.rungs
    return replace(made, rungs=(replace(only, reused=(reused,) * len(seeds)),))


def test_every_worker_has_a_lane_and_every_training_a_bar() -> None:
    trials = [
        at(0, ("a:1", 100.0, 160.0), ("b:7", 130.0, 190.0)),
        at(1, ("a:1", 170.0, 230.0)),
        at(2, ("a:1", 100.0, 160.0), reused=True),  # of trial 0, and drawn there
    ]
    data = timeline_data(analyse(trials))
    assert data.workers == ("a:1", "b:7")
    assert data.spans["lane"].tolist() == [0, 1, 0]
    assert data.spans["trial"].tolist() == [0, 0, 1]
    assert (3600 * data.spans["start"]).tolist() == pytest.approx([0, 30, 70])
    older = replace(trials[1], number=9)
    older = replace(older, rungs=(replace(older.rungs[0], measurements=(measurement(0.5),)),))
    said = draw_timeline(timeline_data(analyse([*trials, older]))).layout.title.subtitle.text
    assert said.endswith("those that failed left none, nor did 1 training of an older version")
    figure = draw_timeline(data)
    assert figure.layout.title.text == "2 workers on 2 machines trained for 3 minutes in all"
    assert figure.layout.yaxis.ticktext == ("a:1", "b:7")


def test_trials_that_ran_at_once_have_lanes_of_their_own() -> None:
    spans = [(0.0, 10.0), (5.0, 20.0), (10.0, 30.0), (40.0, None)]
    trials = [
        replace(trial(i, 100 + i, 0.5), started=start, ended=end)
        for i, (start, end) in enumerate(spans)
    ]
    data = timeline_data(analyse(trials))
    assert data.spans["lane"].tolist() == [0, 1, 0, 0]
    assert draw_timeline(data).layout.title.text == "At most 2 trials ran at once"
    assert 3600 * data.spans["end"].iloc[-1] == pytest.approx(43.0)  # begun, and trained for 3 s
