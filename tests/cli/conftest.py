"""Verdicts are simulated a few times only, and an unchanged study is analysed once."""

from typing import Any

import pytest

from cmt_search.analysis import Analysis
from cmt_search.study import Study

N_SIMULATIONS = 10

_analyse = Study.analyse
_analyses: dict[object, Analysis] = {}


def analyse_once(study: Study, **options: Any) -> Analysis:
    key = (study.path, *sorted(options.items()))
    if key not in _analyses:
        _analyses[key] = _analyse(study, **options)
    return _analyses[key]


@pytest.fixture(autouse=True)
def _few_simulations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cmt_search.study.N_SIMULATIONS", N_SIMULATIONS)


@pytest.fixture
def analysed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests that leave the study as it is."""
    monkeypatch.setattr(Study, "analyse", analyse_once)
