"""Every sampler by one contract: what it asks hangs on the study and the seed alone."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import optuna
import pytest
from optuna.storages import InMemoryStorage
from optuna.trial import TrialState, create_trial

from cmt_search.errors import SpaceError
from cmt_search.search import serialization as attr
from cmt_search.search.sampling.generator import CandidateGenerator, Suggestion
from cmt_search.search.sampling.optuna_samplers import sampler_of
from cmt_search.search.sampling.sobol import MODELS, grid_size, initial_points, n_initial_points
from cmt_search.search.storage import directions
from cmt_search.space import Parameter, parse_space
from tests.search.lookup import FakeSampler, FakeSpace

optuna.logging.set_verbosity(optuna.logging.WARNING)
FEW = 8  # asks of a process, which takes its time; there are 4 initial points
SEVERAL = ("random", "sobol", "grid", "tpe", "gp", "nsga2", "nsga3")  # take several objectives


@dataclass(frozen=True, kw_only=True)
class Stepped(FakeSpace):
    """Three parameters of all sorts, one of them a group where `groups` says so."""

    groups: int = 0
    kind: Any = "pareto"

    def parameters(self) -> tuple[Parameter, ...]:
        place = Parameter(name="budget", low=0, high=self.groups - 1, integer=True, group=True)
        return (
            *((place,) if self.groups else ()),
            Parameter(name="depth", low=0, high=1, step=0.125),
            Parameter(name="width", low=0, high=1, step=1 / 16),
        )


def space(name: str, *, objectives: int = 1, groups: int = 0, seed: int = 7) -> Stepped:
    return Stepped(
        sampler=FakeSampler(name=name, initial_points=4 * max(1, groups)),
        objectives=("top1", "macs")[:objectives],
        infeasible_above=0.9,
        groups=groups,
        kind="shape" if groups else "pareto",
        epochs=(1,),
        seed=seed,
        grid=1000,
    )


class Record:
    """A study in memory, as the scheduler would write it."""

    def __init__(self, of: Stepped) -> None:
        self.space, self.storage = of, InMemoryStorage()
        self.id = self.storage.create_new_study(directions(of.objectives), "study")

    def enter(self, asked: Suggestion, generator: CandidateGenerator) -> None:
        known = {attr.REPLICATE: asked.replicate, **asked.memory}
        if asked.candidate is None:
            known[attr.INFEASIBLE] = True
        state = TrialState.FAIL if asked.candidate is None else TrialState.RUNNING
        trial = create_trial(
            state=state,
            params=asked.params,
            distributions=generator.distributions,
            user_attrs=known,
        )
        self.storage.create_new_trial(self.id, trial)

    def close(self, asked: Suggestion, generator: CandidateGenerator) -> None:
        values = score(asked, objectives=len(self.space.objectives))
        if len(values) == 1:
            self.storage.set_trial_intermediate_value(asked.number, 0, values[0])
            generator.report(asked.number, rung=0, value=values[0])
        self.storage.set_trial_state_values(asked.number, TrialState.COMPLETE, values)
        generator.tell(asked.number, state=TrialState.COMPLETE, values=values)


def score(asked: Suggestion, *, objectives: int) -> Sequence[float]:
    depth, width = asked.params["depth"], asked.params["width"]
    both = (1 - (depth - 0.5) ** 2 - (width - 0.3) ** 2, depth + width)
    return both[:objectives]


def driven(of: Stepped, *, asks: int, slots: int, anew: bool) -> list[dict[str, Any]]:
    """What is asked with so many slots, the newest of those that run coming back last but one.

    `anew`: with an generator that is made from the study before every ask.
    """
    record, running, found = Record(of), [], []
    generator = CandidateGenerator(of, trials=[])
    while len(found) < asks:
        if anew:
            generator = CandidateGenerator(of, trials=record.storage.get_all_trials(record.id))
        asked = generator.ask()
        found.append(asked.params)
        record.enter(asked, generator)
        if asked.candidate is not None:
            running.append(asked)
        if len(running) == slots:
            record.close(running.pop(-2 if slots > 1 else 0), generator)
    return found


@pytest.mark.parametrize("objectives", [1, 2])
@pytest.mark.parametrize("name", SEVERAL)
def test_the_same_seed_asks_the_same_and_another_does_not(name: str, objectives: int) -> None:
    of = space(name, objectives=objectives)
    asks = FEW if name == "gp" else 14
    first = driven(of, asks=asks, slots=1, anew=False)
    assert driven(of, asks=asks, slots=1, anew=False) == first
    assert driven(replace(of, seed=8), asks=asks, slots=1, anew=False) != first
    assert all(0 <= params["depth"] <= 1 and 0 <= params["width"] <= 1 for params in first)


@pytest.mark.parametrize("slots", [1, 3])
@pytest.mark.parametrize("objectives", [1, 2])
@pytest.mark.parametrize("name", SEVERAL)
def test_a_driver_that_begins_anew_asks_what_the_one_before_would_have(
    name: str, objectives: int, slots: int
) -> None:
    of = space(name, objectives=objectives)
    asks = FEW if name == "gp" else 18
    whole = driven(of, asks=asks, slots=slots, anew=False)
    assert driven(of, asks=asks, slots=slots, anew=True) == whole


@pytest.mark.parametrize("name", SEVERAL)
def test_asks_in_parallel_do_not_repeat_each_other(name: str) -> None:
    generator = CandidateGenerator(space(name), trials=[])
    for _ in range(6):  # as many as initial points, the infeasible ones among them
        asked = generator.ask()
        if asked.candidate is not None:
            generator.tell(
                asked.number, state=TrialState.COMPLETE, values=score(asked, objectives=1)
            )
    asked = [tuple(generator.ask().params.values()) for _ in range(5)]
    assert len(set(asked)) == 5


@pytest.mark.parametrize(("name", "asks"), [("tpe", 20), ("gp", 9)])
def test_a_model_finds_better_points_than_its_population(name: str, asks: int) -> None:
    asked = driven(space(name), asks=asks, slots=1, anew=False)
    gaps = [abs(p["depth"] - 0.5) + abs(p["width"] - 0.3) for p in asked]
    assert min(gaps[4:]) < min(gaps[:4])


def test_nsga2_breeds_the_population() -> None:
    of = space("nsga2", objectives=2)
    record, generator = Record(of), CandidateGenerator(of, trials=[])
    memories = []
    for _ in range(9):
        asked = generator.ask()
        memories.append(asked.memory[attr.SAMPLER_MEMORY])
        record.enter(asked, generator)
        if asked.candidate is not None:
            record.close(asked, generator)
    assert [json.loads(text)["trial"] for text in memories] == [
        *[{"NSGAIISampler:generation": 0}] * 4,
        *[{"NSGAIISampler:generation": 1}] * 4,
        {"NSGAIISampler:generation": 2},
    ]
    assert sorted(json.loads(memories[4])["study"]["NSGAIISampler:parent:1"]) == [0, 1, 2, 3]


@pytest.mark.parametrize("name", SEVERAL)
def test_strata_take_turns_and_are_told_apart(name: str) -> None:
    of = space(name, groups=3)
    asks = 15 if name == "gp" else 24
    asked = driven(of, asks=asks, slots=1, anew=False)
    assert driven(of, asks=asks, slots=1, anew=True) == asked
    feasible = [params["budget"] for params in asked if params["depth"] <= 0.9]
    counts = [feasible.count(value) for value in range(3)]
    assert name == "grid" or max(counts) - min(counts) <= 1
    assert sum(counts) > asks / 2


def test_a_grid_asks_for_all_of_its_points_once_and_then_ends() -> None:
    of = space("grid")
    generator = CandidateGenerator(of, trials=[])
    size = grid_size(of.parameters())
    assert (generator.left, size) == (9 * 17, 9 * 17)
    asked = {tuple(generator.ask().params.values()) for _ in range(size)}
    assert len(asked) == size
    assert generator.left == 0
    assert generator.why_no_more() == (
        "the grid holds 153 points; use finer steps, or another sampler"
    )


def test_a_grid_without_steps_is_refused_with_the_knobs() -> None:
    endless = (Parameter(name="a", low=0, high=1), Parameter(name="b", low=1, high=9, integer=True))
    with pytest.raises(SpaceError, match=r"grid needs steps, and knobs a have none; give them"):
        grid_size(endless)
    huge = tuple(Parameter(name=n, low=1, high=200, integer=True) for n in "abc")
    with pytest.raises(SpaceError, match=r"the grid has 8,000,000 points; use coarser steps"):
        grid_size(huge)


def test_an_unknown_sampler_and_a_missing_package_are_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(SpaceError, match=r"sampler\.name='bayes' is unknown; use design, sobol"):
        sampler_of("bayes", seed=0, initial_points=0)
    monkeypatch.setattr("cmt_search.search.sampling.optuna_samplers.find_spec", lambda name: None)
    with pytest.raises(SpaceError, match="cmaes needs the package cmaes; install it with `uv pip"):
        CandidateGenerator(space("cmaes"), trials=[])


FREE = """
kind: pareto
base: {preset: cmt_pico, in_chans: 1}
knobs: {depth: {min: 4, max: 12}, width: {min: 4, max: 32, log: true}}
caps: {macs: 3M}
trials: 10
sampler: {name: %s}
"""


@pytest.mark.parametrize("name", [name for name in MODELS if name != "cmaes"])
def test_a_population_is_feasible_and_spread_over_macs(name: str) -> None:
    free = parse_space(FREE % name, source="free")
    points = initial_points(free)
    assert n_initial_points(free) == 8
    macs = sorted(free.candidate(p.params).rungs[-1].macs for p in points)
    assert 6 <= len(macs) <= 8
    assert macs[-1] <= 3e6
    assert macs[-1] > 8 * macs[0]
    assert initial_points(free) == points


@pytest.mark.parametrize("name", ["random", "sobol"])
def test_what_learns_nothing_has_no_population(name: str) -> None:
    assert initial_points(parse_space(FREE % name, source="free")) == ()


def test_a_population_may_be_set() -> None:
    text = FREE.replace("%s", "tpe, initial_points: 3")
    assert len(initial_points(parse_space(text, source="free"))) == 3
    none = parse_space(FREE.replace("%s", "tpe, initial_points: 0"), source="free")
    assert initial_points(none) == ()
