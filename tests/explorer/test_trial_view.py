import json
from dataclasses import replace

import pytest
from plotly.utils import PlotlyJSONEncoder

from cmt_search.analysis import Analysis
from cmt_search.cost import cost
from cmt_search.explorer.comparison_view import comparison, comparison_rows
from cmt_search.explorer.drawing import network_drawing, stage_rows
from cmt_search.explorer.table_view import trial_row
from cmt_search.explorer.trial_view import (
    facts,
    find_trial,
    measurement_rows,
    trial_panel,
)
from cmt_search.format import MISSING
from cmt_search.presets import PRESETS
from tests.analysis.studies import measurement, record, rung


def text_of(parts: object) -> str:
    return json.dumps(parts, cls=PlotlyJSONEncoder, ensure_ascii=False)


def test_a_network_is_listed_by_part_with_its_sides() -> None:
    rows = stage_rows(PRESETS["cmt_ti"])
    assert [row["part"] for row in rows] == ["stem", *(f"stage{i}" for i in range(1, 5)), "head"]
    assert [row["side"] for row in rows] == ["80", "40", "20", "10", "5", "1"]
    assert [row["blocks"] for row in rows] == ["", "2", "2", "10", "2", ""]
    assert [row["channels"] for row in rows] == ["16", "46", "92", "184", "368", "1280"]


def test_shares_of_macs_are_those_of_cost() -> None:
    whole = cost(PRESETS["cmt_s"])
    shown = [row["MACs"] for row in stage_rows(PRESETS["cmt_s"])]
    assert shown == [f"{row.macs / whole.macs:.0%}" for row in whole.rows]


def test_every_training_has_a_row_and_so_has_a_rung_without_one() -> None:
    trial = record(
        0,
        (rung(macs=1000, epochs=2), [measurement(0.25, seed=7), measurement(0.5, seed=8)]),
        (rung(macs=2000), ()),
    )
    used = replace(trial.rungs[0], reused=(False, True))
    rows = list(measurement_rows(replace(trial, rungs=(used, *trial.rungs[1:]))))
    assert [row["seed"] for row in rows] == ["7", "8*", ""]
    assert [row["top-1"] for row in rows] == ["25.0%", "50.0%", MISSING]
    assert [row["epochs"] for row in rows] == ["2", "2", "4"]
    assert len({tuple(row) for row in rows}) == 1  # the same columns throughout


def test_a_failed_trial_tells_its_reason(analysis: Analysis) -> None:
    failed = analysis.records[-1]
    assert facts(failed)["reason"] == "loss is NaN in epoch 2; lower the learning rate"
    assert "lower the learning rate" in text_of(trial_panel(failed))
    assert "reason" not in facts(analysis.records[0])


def test_a_rule_tells_its_shares_and_a_free_network_its_parameters(analysis: Analysis) -> None:
    assert facts(analysis.records[0])["shares asked for"].startswith("depth 0.00, width 0.00")
    free = replace(record(0), params={"depth": 11, "width": 0.875})
    assert facts(free)["parameters"] == "depth 11, width 0.875"


def test_the_panel_shows_each_network_once_and_unfolds_the_last_measured() -> None:
    small, large = rung(number=1, macs=1000), rung(number=2, macs=2000)
    longer = replace(small, fidelity=replace(small.fidelity, epochs=9))
    trial = record(0, (small, [measurement(0.5)]), (longer, [measurement(0.6)]), (large, ()))
    folds = [part for part in trial_panel(trial) if type(part).__name__ == "Details"]
    assert [fold.open for fold in folds] == [True, False]
    assert small.arch.key in text_of(folds[0])
    assert "1,000 MACs, 10,000 parameters, 100 activations" in text_of(folds[0])


def test_a_trial_that_never_became_a_network_says_so() -> None:
    shown = text_of(trial_panel(record(3, state="failed", reason="x")))
    assert "This trial has no rungs: no network came of it." in shown
    assert "Networks" not in shown


@pytest.mark.parametrize("number", [None, 999])
def test_a_number_that_no_trial_has_finds_none(analysis: Analysis, number: int | None) -> None:
    assert find_trial(analysis.records, number) is None
    assert find_trial(analysis.records, 3) is analysis.records[3]


def test_a_network_is_drawn_as_wide_as_its_shares_of_the_macs() -> None:
    arch = PRESETS["cmt_s"]
    whole, drawing = cost(arch), network_drawing(arch)
    boxes, _, labels = drawing.children
    widths = [float(box.style["width"].rstrip("%")) for box in boxes.children]
    assert widths == pytest.approx([100 * row.macs / whole.macs for row in whole.rows], abs=1e-4)
    assert len(labels.children) == len(widths)
    assert "stage3: 16 x 256 channels at 14 px" in getattr(drawing, "aria-label")


def test_two_trials_are_compared_and_what_differs_is_marked() -> None:
    one = record(0, (rung(macs=1000), [measurement(0.5)]), name="a")
    other = record(1, (rung(macs=2000), [measurement(0.5)]), name="b")
    rows = {name: (left, right) for name, left, right in comparison_rows(one, other)}
    assert rows["MACs"] == ("1,000", "2,000")
    assert rows["depths"] == ("2", "2")
    assert "reason" not in rows  # neither failed
    shown = text_of(comparison(one, other))
    marked = sum(left != right for left, right in rows.values())
    assert shown.count('"differs"') == shown.count("\N{NOT EQUAL TO}") == marked
    assert f"{marked} of {len(rows)} rows differ" in shown


def test_the_commands_that_train_it_again_are_shown() -> None:
    trial = record(0, (rung(), [measurement(0.5)]))
    assert "cmt-search train x.yaml" in text_of(
        trial_panel(trial, commands=["cmt-search train x.yaml"])
    )


def test_limits_of_a_training_and_measured_costs_are_shown_where_they_are_known() -> None:
    whole = rung(number=1, macs=1000)
    timed = replace(whole, latency_ms=1.234, memory_mib=56.0)
    part = replace(
        timed, fidelity=replace(whole.fidelity, data_fraction=0.25, image_size=12, steps=90)
    )
    plain, cut = record(0, (whole, [measurement(0.5)])), record(1, (part, [measurement(0.5)]))
    assert list(measurement_rows(plain)[0]) == [
        *("rung", "MACs", "epochs", "seed", "top-1", "loss", "seconds")
    ]
    row = measurement_rows(cut)[0]
    assert (row["steps"], row["data"], row["px"], row["seconds"]) == ("90", "0.25", "12", "3")
    assert "100 activations, latency 1.23 ms, memory 56 MiB; key" in text_of(trial_panel(cut))
    assert "latency" not in text_of(trial_panel(plain))
    rows = {name: (left, right) for name, left, right in comparison_rows(plain, cut)}
    assert rows["latency"] == ("", "1.23 ms")
    assert (rows["steps"], rows["data"], rows["px"]) == (("", "90"), ("", "0.25"), ("", "12"))
    assert rows["seconds of one"] == ("3", "3")


def test_an_infeasible_rule_tells_the_shares_that_were_asked_for() -> None:
    none = record(7, state="failed", reason="infeasible: too small")
    lost = replace(none, params={"depth_quantile": 0.36, "width_of_rest": 0.25})
    assert facts(lost)["shares asked for"] == "depth 0.40, width 0.15, resolution 0.45"
    assert "parameters" not in facts(lost)
    assert trial_row(lost)["shares"] == pytest.approx((0.4, 0.15, 0.45))
