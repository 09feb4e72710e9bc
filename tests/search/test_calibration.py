"""A calibration is a list of networks, sampled so that it covers what a search could ask for."""

import itertools
import math
from pathlib import Path

import pytest

from cmt_search.cost import cost
from cmt_search.errors import SpaceError
from cmt_search.search import (
    CalibrationSpace,
    FidelityLevel,
    RunDir,
    design_points,
    read_trials,
    run_search,
    sample_networks,
)
from cmt_search.space import parse_space
from tests.search.lookup import LookupFactory

RULES = """\
kind: rule
base: {preset: cmt_pico, in_chans: 1}
budgets: {times_base: [3, 6]}
tolerance: 0.03
"""
FREE = """\
kind: pareto
base: {preset: cmt_pico, in_chans: 1}
knobs: {depth: {min: 4, max: 12}, width: {min: 8, max: 32, log: true}}
trials: 10
"""
LEVELS = (
    FidelityLevel(epochs=1, data_fraction=0.5),
    FidelityLevel(epochs=1, image_scale=0.7),
    FidelityLevel(epochs=1),
    FidelityLevel(epochs=4),
)


def listed(count: int = 3) -> CalibrationSpace:
    found = sample_networks(parse_space(RULES, source="rules"), count=count)
    return CalibrationSpace(networks=found, levels=LEVELS, seeds=2, seed=0, of="f00d")


def test_rules_are_sampled_in_the_order_of_the_design_for_each_budget() -> None:
    space = parse_space(RULES, source="rules")
    found = sample_networks(space, count=3)
    base = cost(space.arch).macs
    times = [round((one.rung.budget or 0) / base) for one in found]
    assert times == [3, 3, 3, 6, 6, 6]
    first = [point.name for point in design_points(space)][:3]
    assert [one.name for one in found[3:]] == first
    assert len({one.rung.arch.key for one in found}) == 6


def test_free_networks_are_spread_over_macs() -> None:
    space = parse_space(FREE, source="free")
    macs = [math.log(one.rung.macs) for one in sample_networks(space, count=6)]
    assert macs == sorted(macs)
    width = (macs[-1] - macs[0]) / 6
    assert max(b - a for a, b in itertools.pairwise(macs)) < 2.5 * width
    assert sample_networks(space, count=6) == sample_networks(space, count=6)


def test_a_space_of_too_few_networks_is_refused() -> None:
    with pytest.raises(SpaceError, match=r"2 different networks.* raise --networks"):
        sample_networks(parse_space(RULES, source="rules"), count=1)


def test_levels_say_what_they_are_and_scale_each_network() -> None:
    assert str(LEVELS[0]) == "1 epoch, 50% of the images"
    assert str(LEVELS[1]) == "1 epoch, 0.7 of the side"
    space = listed()
    rungs = space.candidate({"network": 4}).rungs
    side = rungs[0].arch.resolution
    assert [rung.fidelity.image_size for rung in rungs] == [
        None,
        2 * round(0.35 * side),
        None,
        None,
    ]
    assert [rung.fidelity.epochs for rung in rungs] == [1, 1, 1, 4]
    assert {rung.arch.key for rung in rungs} == {space.networks[4].rung.arch.key}


def test_the_design_of_a_list_is_all_of_it() -> None:
    points = design_points(listed())
    assert [point.params for point in points] == [{"network": i} for i in range(6)]


def test_the_fingerprint_hangs_on_all_that_decides_a_trial() -> None:
    space = listed()
    others = [
        listed(count=2),
        CalibrationSpace(networks=space.networks, levels=LEVELS[1:], seeds=2, seed=0, of="f00d"),
        CalibrationSpace(networks=space.networks, levels=LEVELS, seeds=3, seed=0, of="f00d"),
        CalibrationSpace(networks=space.networks, levels=LEVELS, seeds=2, seed=0, of="beef"),
    ]
    assert len({space.fingerprint, *(other.fingerprint for other in others)}) == 5
    assert space.fingerprint == listed().fingerprint


def test_a_list_is_run_as_any_search_is(tmp_path: Path) -> None:
    space = listed()
    run = RunDir.create(tmp_path / "run", space_yaml=RULES, fingerprint=space.fingerprint)
    outcome = run_search(run, space, LookupFactory(), executor="inline")
    assert (outcome.complete, outcome.jobs) == (6, 6 * 4 * 2)
    records = read_trials(run.path)
    assert [record.name for record in records] == [one.name for one in space.networks]
    assert all(len(rung.measurements) == 2 for record in records for rung in record.rungs)
