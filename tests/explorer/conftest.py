"""A finished rule search with a failure in it."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from cmt_search.analysis import Analysis, analyse
from cmt_search.search import TrialRecord
from tests.analysis.studies import BASE_MACS, NAMED, PAPER, peak, record, rule_study, rung

REASON = "loss is NaN in epoch 2; lower the learning rate"


def analysed(records: Sequence[TrialRecord]) -> Analysis:
    return analyse(records, base_macs=BASE_MACS, paper=PAPER, named=NAMED)


@pytest.fixture(scope="session")
def records() -> tuple[TrialRecord, ...]:
    study = rule_study(peak, noise=0.002)
    lost = rung(number=99, macs=1_500_000, budget=1_500_000.0)
    waiting = replace(lost, macs=3_000_000, budget=3_000_000.0)
    failed = record(len(study), (lost, ()), (waiting, ()), state="failed", reason=REASON)
    return (*study, failed)


@pytest.fixture(scope="session")
def analysis(records: tuple[TrialRecord, ...]) -> Analysis:
    return analysed(records)
