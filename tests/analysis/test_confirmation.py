"""Predicted against measured at a held-out budget."""

import math
from collections.abc import Callable
from dataclasses import asdict, replace

import numpy as np
import pytest
from scipy import stats

from cmt_search.analysis import analyse, compare_confirmed
from cmt_search.analysis.confirmation import analyse_extrapolation, measured_before, naive_best
from cmt_search.cli.confirming import extrapolation_lines
from cmt_search.errors import AnalysisError
from cmt_search.scaling.shares import Shares
from cmt_search.search.types import TrialRecord
from cmt_search.stats import Extrapolation, GaussianProcess
from tests.analysis.studies import BASE_MACS, NAMED, PAPER, measurement, record, rule_study, rung
from tests.analysis.studies import slope as truth

HELD_OUT = 18.0  # times the base; the study ends at 12


@pytest.fixture(scope="module")
def surface() -> GaussianProcess:
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
    surface: GaussianProcess,
) -> None:
    paper, wide = compare_confirmed(records(), surface=surface, base_macs=BASE_MACS)
    interval = stats.ttest_ind(WIDE, PAPERS, equal_var=False).confidence_interval(0.95)
    assert paper.measured is None
    assert wide.measured is not None
    assert wide.measured.mean == pytest.approx(np.mean(WIDE) - np.mean(PAPERS))
    assert (wide.measured.low, wide.measured.high) == pytest.approx(tuple(interval))
    assert (wide.top1, wide.sd, wide.seeds) == pytest.approx(
        (np.mean(WIDE), np.std(WIDE, ddof=1), 4)
    )


def test_the_prediction_is_the_surfaces_at_the_realised_shares(surface: GaussianProcess) -> None:
    paper, wide = compare_confirmed(records(), surface=surface, base_macs=BASE_MACS)
    assert paper.predicted.mean == 0.0
    expected = 0.04 * math.log(HELD_OUT) / math.log(12) * (1 - PAPER.width)
    assert wide.predicted.mean == pytest.approx(expected, abs=0.01)
    assert wide.predicted.low < expected < wide.predicted.high


def test_one_seed_gives_no_interval(surface: GaussianProcess) -> None:
    single = (
        confirmed("cmt-paper", PAPER, [0.8], number=0),
        confirmed("dwr", NAMED["dwr"], [0.82], number=1),
    )
    _, dwr = compare_confirmed(single, surface=surface, base_macs=BASE_MACS)
    assert dwr.measured is None
    assert dwr.sd is None


def test_without_the_papers_rule_there_is_nothing_to_compare_with(surface: GaussianProcess) -> None:
    with pytest.raises(AnalysisError, match=r"cmt-paper was not measured .* choose another"):
        compare_confirmed(records()[1:], surface=surface, base_macs=BASE_MACS)


# The law far beyond the search

FAR = 24.0  # times the base: twice the largest budget of the study
Level = Callable[[np.ndarray, float], float]


def far(level: Level, *, times: float = FAR, seeds: int = 6) -> tuple[TrialRecord, ...]:
    """The named rules at a far budget, where accuracy is `level`."""
    rng = np.random.default_rng(1)
    found = []
    for number, (name, shares) in enumerate(NAMED.items()):
        top1 = level(np.array(shares.values), math.log(times)) + rng.normal(0, 0.002, seeds)
        one = confirmed(name, shares, top1.tolist(), number=number)
        macs = int(times * BASE_MACS)
        moved = replace(one.rungs[0].rung, macs=macs, budget=times * BASE_MACS)
        found.append(replace(one, rungs=(replace(one.rungs[0], rung=moved),)))
    return tuple(found)


def check(surface: GaussianProcess, records: tuple[TrialRecord, ...]) -> Extrapolation:
    search = rule_study(truth, noise=0.002, seeds=3)
    return analyse_extrapolation(records, search=search, surface=surface, base_macs=BASE_MACS)


def test_a_law_that_holds_lies_within_its_own_errors_twice_as_far(surface: GaussianProcess) -> None:
    found = check(surface, far(truth))
    assert found.span == pytest.approx(2)
    assert {rule.name for rule in found.rules} == set(NAMED) - {"cmt-paper"}
    assert found.inside >= len(found.rules) - 1
    wide = next(rule for rule in found.rules if rule.name == "width-only")
    expected = 0.04 * math.log(FAR) / math.log(12) * (1 - PAPER.width)
    assert wide.predicted.mean == pytest.approx(expected, abs=0.01)
    assert wide.measured == pytest.approx(expected, abs=0.005)
    assert wide.se == pytest.approx(0.002 * math.sqrt(2 / 6), rel=0.4)
    assert found.best == found.predicted.name == found.naive.name == "width-only"
    assert found.predicted.regret == found.naive.regret == 0


def test_a_law_that_breaks_lies_outside_and_its_choice_has_the_regret(
    surface: GaussianProcess,
) -> None:
    def broken(shares: np.ndarray, log_macs_ratio: float) -> float:
        return 0.6 + 0.1 * float(shares[0])  # depth alone pays beyond the search

    found = check(surface, far(broken))
    wide = next(rule for rule in found.rules if rule.name == "width-only")
    assert wide.z < -1.96
    assert not wide.inside
    assert found.best == "depth-only"
    for chosen in (found.predicted, found.naive):
        assert chosen.name == "width-only"
        assert chosen.regret == pytest.approx(0.1, abs=0.004)
        assert 0 < chosen.se < 0.003


def test_a_budget_that_is_too_near_is_no_check(surface: GaussianProcess) -> None:
    with pytest.raises(AnalysisError, match=r"1\.5 times the largest .* starts at 2 times"):
        check(surface, far(truth, times=18))


def test_one_seed_for_each_rule_is_no_check(surface: GaussianProcess) -> None:
    with pytest.raises(AnalysisError, match=r"one seed .* of the noise; give .* --seeds 2 or more"):
        check(surface, far(truth, seeds=1))


def test_the_naive_answer_is_what_measured_best_over_seeds_and_repeats() -> None:
    thin, wide = NAMED["depth-only"], NAMED["width-only"]
    search = (
        confirmed("a", thin, [0.9, 0.5], number=0),
        confirmed("b", wide, [0.75, 0.74], number=1),
        confirmed("a again", thin, [0.6, 0.6], number=2),
    )
    assert naive_best(search) == wide
    assert measured_before(search)[thin.values] == pytest.approx(0.65)
    assert naive_best(()) is None


def test_the_check_is_told_in_sentences(surface: GaussianProcess) -> None:
    found = asdict(check(surface, far(truth)))
    held = list(extrapolation_lines({"extrapolation": found}))
    assert held[0].startswith(f"{found['inside']} of 6 rules lie within 1.96 standard errors")
    assert held[1:] == [
        "measured best: width-only",
        "best by the law there: width-only, which is the measured best: no regret",
        "best at the largest budget of the search, the naive answer: width-only, the same rule",
    ]
    regret = {"name": "dwr", "regret": 0.0123, "se": 0.004}
    other = {**found, "predicted": regret}
    assert list(extrapolation_lines({"extrapolation": other}))[2] == (
        "best by the law there: dwr, regret 1.23 points (standard error 0.40); the measured best "
        "is partly luck, so at most"
    )
    near = {"extrapolation": None, "no_extrapolation": "too near"}
    assert list(extrapolation_lines(near)) == ["no check of the law beyond the search: too near"]
