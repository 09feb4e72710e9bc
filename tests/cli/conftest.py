"""Verdicts are simulated a few times only, and an unchanged study is analysed once."""

from functools import cache

import pytest

from cmt_search.cli import wiring

N_SIMULATIONS = 10

analyse_once = cache(wiring.analysis_of)


@pytest.fixture(autouse=True)
def _few_simulations(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("wiring", "inspecting"):
        monkeypatch.setattr(f"cmt_search.cli.{module}.N_SIMULATIONS", N_SIMULATIONS)


@pytest.fixture
def analysed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests that leave the study as it is."""
    monkeypatch.setattr("cmt_search.cli.wiring.analysis_of", analyse_once)
