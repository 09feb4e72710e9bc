"""A cap on latency is met by measuring the nearest networks, or refused with what was measured."""

import re

import pytest

from cmt_search.arch import Arch
from cmt_search.cost import cost
from cmt_search.errors import BudgetError
from cmt_search.presets import PRESETS
from cmt_search.scaling import Budget, ScalingRule, Shares

PICO = PRESETS["cmt_pico"]
RULE = ScalingRule(base=PICO, shares=Shares(depth=0.3, width=0.4, resolution=0.3))
MACS = 5 * cost(PICO).macs


class Stopwatch:
    """Gives latencies from a list, and remembers the networks."""

    def __init__(self, *latencies: float) -> None:
        self.latencies = list(latencies)
        self.archs: list[Arch] = []

    def __call__(self, arch: Arch) -> float:
        self.archs.append(arch)
        return self.latencies[len(self.archs) - 1]


def test_the_nearest_network_is_the_member_where_it_is_fast_enough() -> None:
    watch = Stopwatch(2.0)
    member = RULE.member(Budget(macs=MACS, latency_ms=2.0), latency=watch)
    assert member.arch == RULE.member(MACS).arch == watch.archs[0]
    assert member.latency_ms == 2.0
    assert member.to_dict()["latency_ms"] == 2.0


def test_the_first_network_within_the_cap_is_the_member() -> None:
    watch = Stopwatch(3.0, 2.5, 1.5, 1.0)
    member = RULE.member(Budget(macs=MACS, latency_ms=2.0), latency=watch)
    assert (member.arch, member.latency_ms) == (watch.archs[2], 1.5)
    assert len(watch.archs) == len({arch.key for arch in watch.archs}) == 3
    for arch in watch.archs:
        assert cost(arch).macs == pytest.approx(MACS, rel=0.01)


def test_eight_networks_are_measured_at_most_and_the_fastest_is_named() -> None:
    watch = Stopwatch(9, 8, 7.25, 6, 9, 9, 9, 9, 1)
    with pytest.raises(BudgetError) as caught:
        RULE.member(Budget(macs=MACS, latency_ms=2.0), latency=watch)
    assert len(watch.archs) == 8
    assert str(caught.value) == (
        "budget 2,215,800 MACs exceeds the cap on latency_ms (6 needed, 2 allowed; the fastest of "
        "8 measured); raise the cap or lower the budget"
    )


def test_a_latency_that_is_no_number_is_no_success() -> None:
    with pytest.raises(BudgetError, match="exceeds the cap on latency_ms"):
        RULE.member(Budget(macs=MACS, latency_ms=2.0), latency=lambda _: float("nan"))


def test_networks_that_break_another_cap_are_not_measured() -> None:
    params = RULE.member(MACS).cost.params - 1
    watch = Stopwatch(*[1.0] * 8)
    budget = Budget(macs=MACS, params=params, latency_ms=2.0)
    member = RULE.member(budget, latency=watch)
    assert watch.archs == [member.arch]
    assert member.cost.params <= params


def test_nothing_is_measured_without_a_cap() -> None:
    assert RULE.member(MACS, latency=Stopwatch()).latency_ms is None


def test_a_cap_without_a_way_to_measure_says_what_is_missing() -> None:
    with pytest.raises(BudgetError, match=r"budget\.latency_ms=3\.5 .* give member\(\) `latency=`"):
        RULE.member(Budget(macs=0.5 * cost(PICO).macs, latency_ms=3.5))


@pytest.mark.parametrize("cap", [0, -1.5, float("nan")])
def test_an_impossible_cap_is_refused(cap: float) -> None:
    message = f"budget.latency_ms={cap} admits no network; use a positive cap"
    with pytest.raises(BudgetError, match=f"^{re.escape(message)}$"):
        Budget(macs=1e6, latency_ms=cap)
