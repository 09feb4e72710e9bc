import pytest

from cmt_search.analysis import Analysis
from cmt_search.explorer.table_view import (
    FIRST_SORT,
    Sort,
    direction,
    filled_columns,
    label,
    matching,
    next_sort,
    page_note,
    sorted_rows,
    table_rows,
    trial_row,
)
from cmt_search.format import MISSING
from tests.analysis.studies import measurement, record, rung


@pytest.fixture(scope="module")
def rows(analysis: Analysis) -> list:
    return [trial_row(r) for r in analysis.records]


def test_a_row_speaks_of_the_last_rung_that_was_measured() -> None:
    cheap, dear, none = rung(macs=1000), rung(macs=2000), rung(macs=3000)
    trial = record(
        5,
        (cheap, [measurement(0.3)]),
        (dear, [measurement(0.5, seed=0), measurement(0.7, seed=1)]),
        (none, ()),
    )
    row = trial_row(trial)
    assert (row["MACs"], row["params"]) == (2000, 20000)
    assert row["top-1"] == pytest.approx(0.6)
    assert row["loss"] == pytest.approx(0.4)
    assert (row["seeds"], row["rungs"]) == (2, (2, 3))


def test_a_row_of_an_unmeasured_trial_has_the_costs_of_its_first_rung() -> None:
    row = trial_row(record(0, (rung(macs=1000), ()), (rung(macs=2000), ()), state="running"))
    assert (row["MACs"], row["top-1"], row["seeds"]) == (1000, None, 0)
    assert trial_row(record(0, state="failed"))["MACs"] is None


@pytest.mark.parametrize("descending", [False, True])
def test_rows_without_a_value_come_last_either_way(rows: list, descending: bool) -> None:
    ordered = sorted_rows(rows, Sort(column="top-1", descending=descending))
    assert ordered[-1]["state"] == "failed"
    values = [row["top-1"] for row in ordered[:-1]]
    assert values == sorted(values, reverse=descending)
    assert len(ordered) == len(rows)


def test_sorting_is_by_value_and_not_by_text() -> None:
    trials = [
        record(i, (rung(macs=macs), [measurement(0.5)])) for i, macs in enumerate((900, 10_000, 2))
    ]
    ordered = sorted_rows(map(trial_row, trials), Sort(column="MACs", descending=False))
    assert [row["MACs"] for row in ordered] == [2, 900, 10_000]


def test_a_second_click_turns_the_order_round() -> None:
    once = next_sort(FIRST_SORT, clicked="top-1")
    assert once == {"column": "top-1", "descending": True}  # the best first
    assert next_sort(once, clicked="top-1") == {"column": "top-1", "descending": False}
    assert next_sort(once, clicked="name") == {"column": "name", "descending": False}


def test_heads_tell_the_order_to_eyes_and_to_screen_readers() -> None:
    sort = Sort(column="loss", descending=True)
    assert direction("loss", sort=sort) == "descending"
    assert direction("trial", sort=sort) == "none"
    assert (label("loss", sort=sort), label("trial", sort=sort)) == ("loss ▾", "trial")


def test_columns_that_say_nothing_are_left_out(rows: list) -> None:
    assert "reason" in filled_columns(rows, sort=FIRST_SORT)
    free = [trial_row(record(0, (rung(), [measurement(0.5)])))]
    assert {"shares", "reason"}.isdisjoint(filled_columns(free, sort=FIRST_SORT))
    assert {"trial", "seconds"} <= set(filled_columns(free, sort=FIRST_SORT))


def test_a_row_names_its_trial_and_has_its_values_as_text(rows: list) -> None:
    columns, last = ["trial", "top-1", "reason"], rows[-1]["trial"]
    before, row = table_rows(rows, columns=columns, picked=[last])[-2:]
    assert (row["trial"], row["state"], row["picked"]) == (last, "failed", True)
    assert row["cells"] == [
        [str(last), "number"],
        [MISSING, "number"],
        ["loss is NaN in epoch 2; lower the learning rate", ""],
    ]
    assert not before["picked"]


def test_words_find_rows_by_name_state_and_reason(rows: list) -> None:
    assert [row["state"] for row in matching(rows, "nan FAILED")] == ["failed"]
    assert len(matching(rows, "")) == len(matching(rows, None)) == len(rows)
    assert matching(rows, "nothing like it") == []


def test_a_page_says_which_rows_it_shows() -> None:
    assert page_note(100, 130, every=130) == "rows 101 to 130 of 130"
    assert page_note(0, 3, every=130) == "rows 1 to 3 of 3 (of 130 trials)"
    assert page_note(0, 0, every=130) == "no rows"
