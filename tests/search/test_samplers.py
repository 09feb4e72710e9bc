"""Every sampler by one contract: its suggestions depend on the study and the seed alone."""

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
from cmt_search.search.sampling.sobol import grid_size, initial_points, n_initial_points
from cmt_search.search.storage import directions
from cmt_search.space import Parameter, parse_space
from tests.search.lookup import FakeSampler, FakeSpace

optuna.logging.set_verbosity(optuna.logging.WARNING)
FEW = 8  # suggestions of a Gaussian process; there are 4 initial points
SEVERAL = ("random", "sobol", "grid", "tpe", "gp", "nsga2", "nsga3")  # take several objectives


@dataclass(frozen=True, kw_only=True)
class Stepped(FakeSpace):
    """Two stepped parameters, and a group if `groups` is positive."""

    groups: int = 0
    kind: Any = "pareto"
    hopeless: int | None = None  # group without feasible candidates
    rarely: int | None = None  # group of which one candidate in nine is feasible

    def parameters(self) -> tuple[Parameter, ...]:
        group = Parameter(name="budget", low=0, high=self.groups - 1, integer=True, group=True)
        return (
            *((group,) if self.groups else ()),
            Parameter(name="depth", low=0, high=1, step=0.125),
            Parameter(name="width", low=0, high=1, step=1 / 16),
        )

    def candidate(self, params: Any, name: str | None = None) -> Any:
        is_hopeless = self.hopeless is not None and params["budget"] == self.hopeless
        is_rare = self.rarely is not None and params["budget"] == self.rarely
        is_infeasible = is_hopeless or (is_rare and params["depth"] > 0)
        return super().candidate({**params, "depth": 9.0} if is_infeasible else params, name)


def space(name: str, *, objectives: int = 1, groups: int = 0, **changes: Any) -> Stepped:
    known = {
        "sampler": FakeSampler(name=name, initial_points=4 * max(1, groups)),
        "objectives": ("top1", "macs")[:objectives],
        "infeasible_above": 0.9,
        "groups": groups,
        "kind": "shape" if groups else "pareto",
        "epochs": (1,),
        "grid": 1000,
    }
    return Stepped(**{**known, **changes})


class Record:
    """A study in memory, as the scheduler writes it."""

    def __init__(self, of: Stepped) -> None:
        self.space, self.storage = of, InMemoryStorage()
        self.id = self.storage.create_new_study(directions(of.objectives), "study")

    def generator(self) -> CandidateGenerator:
        """A generator that was restored from the study."""
        generator = CandidateGenerator(self.space)
        trials = self.storage.get_all_trials(self.id)
        generator.restore([(trial, attr.read_candidate(trial.user_attrs)) for trial in trials])
        return generator

    def add(self, suggestion: Suggestion, generator: CandidateGenerator) -> None:
        attributes = {attr.INFEASIBLE: True, **suggestion.attributes}
        if suggestion.candidate is not None:
            attributes = attr.candidate_attributes(suggestion.candidate, replicate=0)
            attributes |= suggestion.attributes
        trial = create_trial(
            state=TrialState.FAIL if suggestion.candidate is None else TrialState.RUNNING,
            params=suggestion.params,
            distributions=generator.distributions,
            user_attrs=attributes,
        )
        self.storage.create_new_trial(self.id, trial)

    def end(self, suggestion: Suggestion, generator: CandidateGenerator) -> None:
        number, values = suggestion.number, self.values(suggestion)
        if len(values) == 1:
            self.storage.set_trial_intermediate_value(number, 0, values[0])
            generator.report(number, rung=0, value=values[0])
        self.storage.set_trial_state_values(number, TrialState.COMPLETE, values)
        generator.tell(number, state=TrialState.COMPLETE, values=values)

    def values(self, suggestion: Suggestion) -> Sequence[float]:
        depth, width = suggestion.params["depth"], suggestion.params["width"]
        values = (1 - (depth - 0.5) ** 2 - (width - 0.3) ** 2, depth + width)
        return values[: len(self.space.objectives)]


def suggest(of: Stepped, *, count: int, slots: int = 1, resume: bool = False) -> list[Any]:
    """The suggestions for so many slots; the last but one running trial ends first.

    `resume`: every suggestion is made by a new generator, restored from the study.
    """
    record, running, params = Record(of), [], []
    generator = record.generator()
    while len(params) < count:
        if resume:
            generator = record.generator()
        suggestion = generator.ask()
        params.append(suggestion.params)
        record.add(suggestion, generator)
        if suggestion.candidate is not None:
            running.append(suggestion)
        if len(running) == slots:
            record.end(running.pop(-2 if slots > 1 else 0), generator)
    return params


@pytest.mark.parametrize(("objectives", "slots"), [(1, 1), (2, 3)])
@pytest.mark.parametrize("name", [*SEVERAL, "cmaes"])
def test_suggestions_depend_on_seed_and_study_only(name: str, objectives: int, slots: int) -> None:
    of = space(name, objectives=1 if name == "cmaes" else objectives)
    count = FEW if name == "gp" else 14
    uninterrupted = suggest(of, count=count, slots=slots)
    assert suggest(of, count=count, slots=slots, resume=True) == uninterrupted
    assert suggest(replace(of, seed=8), count=count, slots=slots) != uninterrupted
    assert all(0 <= p["depth"] <= 1 and 0 <= p["width"] <= 1 for p in uninterrupted)


@pytest.mark.parametrize("name", SEVERAL)
def test_parallel_suggestions_differ(name: str) -> None:
    of = space(name)
    record = Record(of)
    generator = record.generator()
    for _ in range(6):  # the initial points, infeasible ones included
        suggestion = generator.ask()
        record.add(suggestion, generator)
        if suggestion.candidate is not None:
            record.end(suggestion, generator)
    assert len({tuple(generator.ask().params.values()) for _ in range(5)}) == 5


def test_generations_of_genetic_samplers_include_the_initial_points() -> None:
    record = Record(space("nsga2", objectives=2))
    generator, generations = record.generator(), []
    for _ in range(9):
        suggestion = generator.ask()
        state = json.loads(suggestion.attributes[attr.SAMPLER_STATE])
        generations.append(state["trial"]["NSGAIISampler:generation"])
        record.add(suggestion, generator)
        if suggestion.candidate is not None:
            record.end(suggestion, generator)
    assert generations == [0] * 4 + [1] * 4 + [2]


@pytest.mark.parametrize("name", ["sobol", "tpe", "nsga2"])
def test_groups_take_turns_and_have_separate_histories(name: str) -> None:
    of = space(name, groups=3)
    params = suggest(of, count=24)
    assert suggest(of, count=24, resume=True) == params
    feasible = [p["budget"] for p in params if p["depth"] <= 0.9]
    counts = [feasible.count(value) for value in range(3)]
    assert max(counts) - min(counts) <= 1
    assert sum(counts) > 12


@pytest.mark.parametrize("name", ["random", "tpe"])
@pytest.mark.parametrize("hopeless", [0, 2])
def test_a_group_without_feasible_candidates_does_not_end_the_others(
    name: str, hopeless: int
) -> None:
    of = space(name, groups=3, hopeless=hopeless, sampler=FakeSampler(name=name))
    record = Record(of)
    generator, feasible = record.generator(), []
    while len(feasible) < 20:
        assert generator.n_left is None
        if len(record.storage.get_all_trials(record.id)) == 60:
            generator = record.generator()  # a resume knows how often it was infeasible
        suggestion = generator.ask()
        record.add(suggestion, generator)
        if suggestion.candidate is not None:
            record.end(suggestion, generator)
            feasible.append(suggestion.params["budget"])
    assert {feasible.count(value) for value in range(3) if value != hopeless} == {10}
    states = [trial.params["budget"] for trial in record.storage.get_all_trials(record.id)]
    assert states.count(hopeless) == 100


@pytest.mark.parametrize("name", ["random", "tpe"])
def test_a_group_that_is_rarely_feasible_gets_as_many_trials_as_the_others(name: str) -> None:
    record = Record(space(name, groups=3, rarely=1))
    generator, feasible = record.generator(), []
    while len(feasible) < 24:
        assert generator.n_left is None
        if len(feasible) == 12:
            generator = record.generator()
        suggestion = generator.ask()
        record.add(suggestion, generator)
        if suggestion.candidate is not None:
            record.end(suggestion, generator)
            feasible.append(suggestion.params["budget"])
    assert [feasible.count(value) for value in range(3)] == [8, 8, 8]
    tried = [trial.params["budget"] for trial in record.storage.get_all_trials(record.id)]
    assert tried.count(1) > 16


def test_a_grid_suggests_each_point_once() -> None:
    of = space("grid")
    generator, size = CandidateGenerator(of), grid_size(of.parameters())
    assert (generator.n_left, size) == (9 * 17, 9 * 17)
    assert len({tuple(generator.ask().params.values()) for _ in range(size)}) == size
    assert generator.n_left == 0
    assert "grid" in generator.why_no_more()


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cmt_search.search.sampling.optuna_samplers.find_spec", lambda name: None)
    with pytest.raises(SpaceError, match="package cmaes; install it"):
        CandidateGenerator(space("cmaes"))


FREE = """
kind: pareto
base: {preset: cmt_pico, in_chans: 1}
knobs: {depth: {min: 4, max: 12}, width: {min: 4, max: 32, log: true}}
caps: {macs: 3M}
trials: 10
sampler: {name: %s}
"""


@pytest.mark.parametrize("name", ["tpe", "nsga3"])
def test_initial_points_are_feasible_and_spread_over_macs(name: str) -> None:
    free = parse_space(FREE % name, source="free")
    points = initial_points(free)
    assert n_initial_points(free) == 8
    macs = sorted(free.candidate(p.params).rungs[-1].macs for p in points)
    assert 6 <= len(macs) <= 8
    assert macs[-1] <= 3e6
    assert macs[-1] > 8 * macs[0]
    assert initial_points(free) == points


@pytest.mark.parametrize(
    ("sampler", "count"),
    [("random", 0), ("sobol", 0), ("tpe, initial_points: 3", 3), ("tpe, initial_points: 0", 0)],
)
def test_the_number_of_initial_points_depends_on_the_sampler(sampler: str, count: int) -> None:
    assert len(initial_points(parse_space(FREE % sampler, source="free"))) == count
