"""Predicted against measured at a held-out budget."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from cmt_search.analysis import analyse, confirmation
from cmt_search.errors import AnalysisError
from cmt_search.laws import Surface
from cmt_search.scaling.shares import Shares
from cmt_search.search.record import TrialRecord
from tests.analysis.studies import BASE_MACS, NAMED, PAPER, measurement, record, rule_study, rung
from tests.analysis.studies import slope as truth

HELD_OUT = 18.0  # times the base; the study ends at 12


@pytest.fixture(scope="module")
def surface() -> Surface:
    study = rule_study(truth, noise=0.002, seeds=3)
    found = analyse(study, base_macs=BASE_MACS, paper=PAPER, named=NAMED).surface
    assert found is not None
    return found


def confirmed(name: str, shares: Shares, top1: list[float], *, number: int) -> TrialRecord:
    macs = int(HELD_OUT * BASE_MACS)
    one = replace(rung(number=number, macs=macs, budget=macs), realised=shares)
    measured = [measurement(value, seed=k) for k, value in enumerate(top1)]
    return record(number, (one, measured), name=name, shares=shares)


PAPERS = [0.80, 0.81, 0.805, 0.795]
WIDE = [0.83, 0.82, 0.825, 0.835]


def records() -> tuple[TrialRecord, ...]:
    return (
        confirmed("cmt-paper", PAPER, PAPERS, number=0),
        confirmed("width-only", NAMED["width-only"], WIDE, number=1),
    )


def test_the_measured_difference_is_that_of_the_means_with_welchs_interval(
    surface: Surface,
) -> None:
    paper, wide = confirmation(records(), surface=surface, base_macs=BASE_MACS)
    interval = stats.ttest_ind(WIDE, PAPERS, equal_var=False).confidence_interval(0.95)
    assert paper.measured is None
    assert wide.measured is not None
    assert wide.measured.mean == pytest.approx(np.mean(WIDE) - np.mean(PAPERS))
    assert (wide.measured.low, wide.measured.high) == pytest.approx(tuple(interval))
    assert (wide.top1, wide.sd, wide.seeds) == pytest.approx(
        (np.mean(WIDE), np.std(WIDE, ddof=1), 4)
    )


def test_the_prediction_is_the_surfaces_at_the_realised_shares(surface: Surface) -> None:
    paper, wide = confirmation(records(), surface=surface, base_macs=BASE_MACS)
    assert paper.predicted.mean == 0.0
    expected = 0.04 * math.log(HELD_OUT) / math.log(12) * (1 - PAPER.width)
    assert wide.predicted.mean == pytest.approx(expected, abs=0.01)
    assert wide.predicted.low < expected < wide.predicted.high


def test_one_seed_gives_no_interval(surface: Surface) -> None:
    single = (
        confirmed("cmt-paper", PAPER, [0.8], number=0),
        confirmed("dwr", NAMED["dwr"], [0.82], number=1),
    )
    _, dwr = confirmation(single, surface=surface, base_macs=BASE_MACS)
    assert dwr.measured is None
    assert dwr.sd is None


def test_without_the_papers_rule_there_is_nothing_to_compare_with(surface: Surface) -> None:
    with pytest.raises(AnalysisError, match=r"cmt-paper was not measured .* choose another"):
        confirmation(records()[1:], surface=surface, base_macs=BASE_MACS)
