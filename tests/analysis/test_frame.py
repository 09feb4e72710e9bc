from dataclasses import replace

import pytest

from cmt_search.analysis import COLUMNS, networks, trainings, trainings_frame, trials_frame
from cmt_search.evaluation import Fidelity
from cmt_search.scaling.shares import Shares
from tests.analysis.studies import PAPER, flat, measurement, record, rule_study, rung

SCHEMA = {column.name: column.dtype for column in COLUMNS}


def test_the_table_has_the_declared_columns_types_and_order() -> None:
    frame = trainings_frame(rule_study(flat, noise=0.01))
    assert {name: str(dtype) for name, dtype in frame.dtypes.items()} == SCHEMA
    assert list(frame.columns) == list(SCHEMA)
    assert len({column.meaning for column in COLUMNS}) > 25


def test_an_empty_study_gives_an_empty_table_of_the_same_schema() -> None:
    frame = trainings_frame([])
    assert len(frame) == 0
    assert {name: str(dtype) for name, dtype in frame.dtypes.items()} == SCHEMA
    assert len(networks(frame)) == 0


def test_there_is_a_row_for_every_trial_rung_and_seed() -> None:
    frame = trainings_frame(rule_study(flat, noise=0.01, seeds=3, budgets=(3.0, 6.0)))
    assert len(frame) == 17 * 2 * 3
    assert not frame.duplicated(["trial", "rung", "seed"]).any()


def test_a_row_holds_what_was_asked_realised_and_measured() -> None:
    one = replace(
        rung(macs=3000, budget=3010.0), realised=Shares(depth=0.2, width=0.5, resolution=0.3)
    )
    trial = record(7, (one, [measurement(0.75, seed=4)]), name="cmt-paper", shares=PAPER)
    row = trainings_frame([trial]).iloc[0]
    expected = {
        "trial": 7,
        "name": "cmt-paper",
        "share_width": 0.52,
        "realised_width": 0.5,
        "budget": 3010.0,
        "macs": 3000,
        "depths": "2",
        "widths": "16",
        "epochs": 4,
        "seed": 4,
        "top1": 0.75,
        "reused": False,
        "key": one.arch.key,
    }
    assert {name: row[name] for name in expected} == expected


def test_a_failed_trial_keeps_a_row_with_its_reason_beside_what_it_measured() -> None:
    trial = record(
        0,
        (rung(macs=1000), [measurement(0.6)]),
        (rung(macs=2000, size=32), []),
        state="failed",
        reason="loss is NaN in epoch 2",
    )
    frame = trainings_frame([trial])
    assert frame["macs"].tolist() == [1000, 2000]
    assert frame["top1"].isna().tolist() == [False, True]
    assert set(frame["reason"]) == {"loss is NaN in epoch 2"}


def test_a_trial_without_a_ladder_keeps_a_row() -> None:
    frame = trainings_frame([record(3, state="failed", reason="no network within 1%")])
    assert frame["trial"].tolist() == [3]
    assert frame["macs"].isna().all()


def test_full_fidelity_is_that_of_the_most_expensive_rung_wherever_it_stands() -> None:
    by_budget = record(0, *((rung(macs=m, size=16 * m), [measurement(0.5)]) for m in (1, 2)))
    by_epochs = record(1, *((rung(epochs=e), [measurement(0.5)]) for e in (1, 3)))
    part = replace(rung(), fidelity=Fidelity(epochs=4, data_fraction=0.5))
    by_data = record(2, (part, [measurement(0.5)]), (rung(), [measurement(0.5)]))
    frame = trainings_frame([by_budget, by_epochs, by_data])
    assert frame["full_fidelity"].tolist() == [True, True, False, True, False, True]


def test_a_training_that_answered_two_trials_counts_once() -> None:
    shared = rung()
    first = record(0, (shared, [measurement(0.6, seed=0)]))
    again = record(1, (shared, [measurement(0.6, seed=0), measurement(0.7, seed=1)]))
    frame = trainings_frame([first, again])
    assert len(trainings(frame)) == 2
    table = networks(frame)
    assert table["measurements"].tolist() == [2]
    assert table["top1"].tolist() == [pytest.approx(0.65)]


def test_there_is_one_row_for_every_trial_with_what_its_last_rung_showed() -> None:
    seen = [measurement(0.6, seed=0), measurement(0.8, seed=1)]
    climbed = record(
        4, (rung(macs=1000), [measurement(0.5)]), (rung(macs=2000, size=32), seen), shares=PAPER
    )
    waiting = record(5, (rung(macs=1000), []), state="running")
    infeasible = record(6, state="failed", reason="infeasible: no network within 1%")
    table = trials_frame([climbed, waiting, infeasible]).set_index("trial")
    assert table.loc[4, ["macs", "measurements", "rungs"]].tolist() == [2000, 2, 2]
    assert table.loc[4, "top1"] == pytest.approx(0.7)
    assert table.loc[4, "width share"] == PAPER.width
    assert table["state"].tolist() == ["complete", "running", "infeasible"]
    assert table["rungs"].tolist() == [2, 0, 0]
    assert table["top1"].isna().tolist() == [False, True, True]
