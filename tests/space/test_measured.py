"""Latency and memory are measured by functions that a space is given: caps or objectives."""

from collections import Counter
from collections.abc import Callable

import pytest

from cmt_search.arch import Arch
from cmt_search.cost import cost
from cmt_search.cost.config import BenchmarkConfig
from cmt_search.errors import BudgetError, SpaceError
from cmt_search.scaling import Shares
from cmt_search.space import SearchSpace, parse_space
from tests.space.broken import PARETO, RULE, says

MIXED = Shares(depth=0.3, width=0.4, resolution=0.3)
SMALL = {"depth": 4, "width": 4}
LARGE = {"depth": 12, "width": 16}


def parsed(text: str) -> SearchSpace:
    return parse_space(text, source="test")


def milliseconds(arch: Arch) -> float:
    """A meter that always says the same."""
    return cost(arch).activations / 1e4


def mebibytes(arch: Arch) -> float:
    return cost(arch).params / 1e4


METERS: dict[str, Callable[[Arch], float]] = {
    "latency_ms": milliseconds,
    "memory_mib": mebibytes,
}


# What is measured


@pytest.mark.parametrize(
    ("line", "measured"),
    [
        ("", ()),
        ("latency: {threads: 2}", ()),
        ("objectives: [top1, latency_ms]", ("latency_ms",)),
        ("caps: {memory_mib: 9}", ("memory_mib",)),
        ("objectives: [memory_mib]\ncaps: {latency_ms: 3}", ("latency_ms", "memory_mib")),
        ("objectives: [top1, seconds]", ()),  # by the training
    ],
)
def test_costs_that_are_capped_or_objectives_are_measured(
    line: str, measured: tuple[str, ...]
) -> None:
    assert parsed(PARETO + line).measured == measured


def test_a_candidate_holds_the_measured_costs_only() -> None:
    space = parsed(PARETO + "objectives: [top1, latency_ms]").with_meters(METERS)
    (rung,) = space.candidate(LARGE).rungs
    assert (rung.latency_ms, rung.memory_mib) == (milliseconds(rung.arch), None)
    (rung,) = parsed(PARETO).with_meters(METERS).candidate(LARGE).rungs
    assert (rung.latency_ms, rung.memory_mib) == (None, None)


def test_all_rungs_share_one_measurement_of_their_network() -> None:
    calls = Counter[str]()

    def counts(arch: Arch) -> float:
        calls[arch.key] += 1
        return 1.5

    text = PARETO + "objectives: [top1, memory_mib]\nfidelities: {epochs: [1, 3]}"
    rungs = parsed(text).with_meters({"memory_mib": counts}).candidate(LARGE).rungs
    assert [rung.memory_mib for rung in rungs] == [1.5, 1.5]
    assert calls.total() == 1


def test_a_candidate_needs_a_meter_for_every_measured_cost() -> None:
    pareto = parsed(PARETO + "objectives: [top1, latency_ms]")
    rule = parsed(RULE + "caps: {latency_ms: 5}")
    for space, params in ((pareto, LARGE), (rule, rule.params_of_shares(MIXED))):
        with pytest.raises(SpaceError, match=r"^latency_ms .*; pass .*with_meters"):
            space.candidate(params)


# Caps


def test_a_network_above_a_measured_cap_is_infeasible_with_cost_and_cap_in_the_message() -> None:
    space = parsed(PARETO + "caps: {latency_ms: 0.5}").with_meters(METERS)
    arch = parsed(PARETO).candidate(LARGE).rungs[0].arch
    with pytest.raises(BudgetError) as caught:
        space.candidate(LARGE)
    problem, remedy = str(caught.value).split("; ")
    assert problem.startswith(f"caps.latency_ms: {round(milliseconds(arch), 3)} ms")
    assert problem.endswith(f"{LARGE} is above 0.5")
    assert remedy == "raise the cap or narrow the knobs"


def test_a_network_above_an_analytic_cap_is_not_measured() -> None:
    def fails(arch: Arch) -> float:
        raise AssertionError("measured in vain")

    space = parsed(PARETO + "caps: {macs: 0.4M, latency_ms: 3}").with_meters({"latency_ms": fails})
    with pytest.raises(BudgetError, match=r"^caps\.macs: "):
        space.candidate(LARGE)


def test_the_smallest_network_is_checked_against_measured_caps() -> None:
    space = parsed(PARETO + "caps: {memory_mib: 0.1}")
    with pytest.raises(BudgetError, match=r"^caps\.memory_mib: .*; this is the smallest network"):
        space.with_meters(METERS).check_smallest()
    parsed(PARETO + "caps: {memory_mib: 100}").with_meters(METERS).check_smallest()
    parsed(RULE + "caps: {latency_ms: 5}").with_meters(METERS).check_smallest()


def test_the_member_of_a_rule_is_solved_under_the_cap() -> None:
    free = parsed(RULE)
    params = free.params_of_shares(MIXED)
    nearest = free.candidate(params).rungs[0].arch

    def slow(arch: Arch) -> float:
        return 7.0 if arch == nearest else 4.0

    space = parsed(RULE + "caps: {latency_ms: 5}").with_meters({"latency_ms": slow})
    (rung,) = space.candidate(params).rungs
    assert rung.arch != nearest
    assert rung.latency_ms == 4.0
    assert rung.macs == pytest.approx(rung.budget, rel=0.01)


def test_a_rule_without_a_member_within_the_latency_cap_names_that_cap() -> None:
    space = parsed(RULE + "caps: {latency_ms: 0.001}").with_meters(METERS)
    with pytest.raises(BudgetError, match=r"at [\d,]+ MACs .* exceeds the cap on latency_ms"):
        space.candidate(space.params_of_shares(MIXED))


def test_analytic_budgets_have_no_latency_cap() -> None:
    space = parsed(RULE + "caps: {latency_ms: 0.001, params: 1M}")
    assert space.budget(1e6).latency_ms == 0.001
    assert space.analytic_only().budget(1e6).latency_ms is None
    assert space.analytic_only().budget(1e6).params == 1_000_000


# The file


def test_the_latency_section_is_a_benchmark_config() -> None:
    assert parsed(PARETO).latency == BenchmarkConfig(threads=1)
    text = PARETO + "latency: {device: 'cuda:1', threads: null, batch: 8, dtype: fp16}"
    wanted = BenchmarkConfig(device="cuda:1", threads=None, batch=8, dtype="fp16")
    assert parsed(text).latency == wanted


@pytest.mark.parametrize(
    ("start", "line", "message"),
    [
        (
            PARETO,
            "caps: {latency_ms: 0}",
            "caps.latency_ms: use a number above 0 and at most",
        ),
        (
            PARETO,
            "latency: {device: tpu}",
            "latency: use cpu, cuda or cuda:1",
        ),
        (PARETO, "latency: {thread: 2}", "latency.thread: did you mean threads?"),
        (
            RULE,
            "caps: {memory_mib: 3}",
            "caps.memory_mib: cap activations or latency_ms",
        ),
        (
            RULE,
            "objectives: [latency_ms]",
            "objectives: remove the key",
        ),
    ],
)
def test_impossible_measurements_are_refused(start: str, line: str, message: str) -> None:
    says(start + line, message)


def test_the_latency_section_changes_the_fingerprint_only_where_costs_are_measured() -> None:
    plain = parsed(PARETO)
    assert parsed(PARETO + "latency: {batch: 8}").fingerprint == plain.fingerprint
    assert parsed(PARETO + "caps: {latency_ms: null}").fingerprint == plain.fingerprint
    prints = {
        parsed(PARETO + f"caps: {{latency_ms: {cap}}}\nlatency: {{batch: {batch}}}").fingerprint
        for cap in (3, 4)
        for batch in (1, 8)
    }
    assert len(prints) == 4
    assert plain.fingerprint not in prints


def test_meters_change_neither_the_fingerprint_nor_the_file() -> None:
    space = parsed(PARETO + "objectives: [top1, latency_ms]\ncaps: {memory_mib: 9}")
    metered = space.with_meters(METERS)
    assert metered.fingerprint == space.fingerprint
    assert metered.to_yaml() == space.to_yaml()
    assert parsed(space.to_yaml()) == space
    with pytest.raises(SpaceError):  # the space itself stays as it was
        space.candidate(LARGE)
