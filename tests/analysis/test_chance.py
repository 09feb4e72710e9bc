from dataclasses import replace

import pytest

from cmt_search.analysis import analyse, study_headline, summary
from cmt_search.analysis.chance import ChanceComparison
from cmt_search.search.types import TrialRecord
from tests.analysis.studies import (
    BASE_MACS,
    NAMED,
    PAPER,
    measurement,
    peak,
    record,
    rule_study,
    rung,
)


def near(best: float, *, classes: int) -> bool:
    return ChanceComparison(best=best, level=1 / classes).is_near


@pytest.mark.parametrize(
    ("best", "classes"), [(0.098, 20), (0.54, 2), (0.0019, 1000), (0.15, 10), (0.04, 20)]
)
def test_networks_that_barely_guess_better_are_near_chance(best: float, classes: int) -> None:
    assert near(best, classes=classes)


@pytest.mark.parametrize(
    ("best", "classes"), [(0.11, 20), (0.7, 2), (0.05, 1000), (0.3, 10), (0.8, 20)]
)
def test_networks_that_learn_are_not_near_chance(best: float, classes: int) -> None:
    assert not near(best, classes=classes)


def with_classes(trial: TrialRecord, *, classes: int) -> TrialRecord:
    rungs = [
        replace(r, rung=replace(r.rung, arch=replace(r.rung.arch, num_classes=classes)))
        for r in trial.rungs
    ]
    return replace(trial, rungs=tuple(rungs))


def test_a_study_near_chance_leads_with_it_whatever_its_kind() -> None:
    trials = [record(i, (rung(number=i), [measurement(0.09 + i / 1000)])) for i in range(8)]
    study = analyse([with_classes(trial, classes=20) for trial in trials])
    assert "chance (9.7% against 5%): train longer" in study_headline(study)
    assert summary(study)["chance"] == {
        "best": pytest.approx(0.097),
        "level": 0.05,
        "is_near": True,
    }


def test_a_study_that_learns_leads_with_its_verdict() -> None:
    rules = analyse(rule_study(peak, noise=0.002), base_macs=BASE_MACS, paper=PAPER, named=NAMED)
    assert rules.chance is not None
    assert not rules.chance.is_near
    assert "chance" not in study_headline(rules)


def test_an_empty_study_is_not_compared_with_chance() -> None:
    assert analyse([]).chance is None
