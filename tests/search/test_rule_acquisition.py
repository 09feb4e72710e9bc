"""After its design a rule search suggests what shrinks the expected equivalence set most."""

from typing import Any

import numpy as np
import pytest
from optuna.trial import TrialState, create_trial

from cmt_search.search import serialization as attr
from cmt_search.search.sampling.generator import CandidateGenerator, Suggestion
from cmt_search.search.sampling.rule_acquisition import expected_set_size, repeat_variance
from cmt_search.space import Rung, SearchSpace, parse_space

TEXT = """
kind: rule
base: {preset: cmt_nano, resolution: 16}
knobs: {resolution: {step: 2, max: 32}}
budgets: {times_base: [4, 12]}
tolerance: 0.02
sampler: {name: gp, lattice: 3, augmented: false, replicates: 2}
trials: 40
"""
SPACE = parse_space(TEXT, source="rules")
BEST = np.array([0.2, 0.5, 0.3])


def truth(rung: Rung) -> float:
    """A response with its best rule inside the triangle."""
    assert rung.realised is not None
    assert rung.log_macs_ratio is not None
    x = (np.array(rung.realised.values) - BEST) * rung.log_macs_ratio
    return 0.5 + 0.05 * rung.log_macs_ratio - 0.02 * float(x @ x)


Log = list[tuple[Suggestion, list[float] | None]]  # what was asked, and what its rungs measured


def finish(generator: CandidateGenerator, asked: Suggestion, *, noise: float, log: Log) -> None:
    assert asked.candidate is not None
    rng = np.random.default_rng([asked.number, 5])
    values = [truth(rung) + noise * float(rng.normal()) for rung in asked.candidate.rungs]
    for i, value in enumerate(values):
        generator.report(asked.number, rung=i, value=value)
    generator.tell(asked.number, state=TrialState.COMPLETE, values=[values[-1]])
    log.append((asked, values))


def restored(log: Log, distributions: Any) -> CandidateGenerator:
    """A generator restored from the trials as a study holds them."""
    trials = []
    for number, (asked, values) in enumerate(log):
        known = {**asked.attributes, attr.NAME: asked.name, attr.REPLICATE: asked.replicate}
        if asked.candidate is None:
            known[attr.INFEASIBLE] = True
        else:
            known |= attr.candidate_attributes(asked.candidate, replicate=asked.replicate)
        state = TrialState.COMPLETE if values else TrialState.RUNNING
        state = TrialState.FAIL if asked.candidate is None else state
        trial = create_trial(
            state=state,
            params=asked.params,
            distributions=distributions,
            values=[values[-1]] if values else None,
            intermediate_values=dict(enumerate(values or [])),
            user_attrs=known,
        )
        trial.number = number
        trials.append((trial, asked.candidate))
    generator = CandidateGenerator(SPACE)
    generator.restore(trials)
    return generator


def make_design(space: SearchSpace, *, noise: float) -> tuple[CandidateGenerator, Log]:
    """An generator whose design is measured."""
    generator = CandidateGenerator(space)
    log: Log = []
    while generator.is_predetermined:
        asked = generator.ask()
        if asked.candidate is None:
            log.append((asked, None))
        else:
            finish(generator, asked, noise=noise, log=log)
    return generator, log


def test_after_the_design_new_feasible_rules_are_asked_for() -> None:
    generator, log = make_design(SPACE, noise=0.002)
    known = {rung.arch.key for a, _ in log if a.candidate for rung in a.candidate.rungs}
    asked = []
    for _ in range(4):
        one = generator.ask()
        assert one.candidate is not None, "a rule without networks was asked for"
        assert one.replicate > 0 or {rung.arch.key for rung in one.candidate.rungs} - known
        asked.append(one)
        finish(generator, one, noise=0.002, log=log)
    assert all(one.name == f"gp {one.number}" or one.replicate for one in asked)
    assert len({(tuple(one.params.items()), one.replicate) for one in asked}) == 4


def test_what_runs_counts_and_is_not_asked_for_again() -> None:
    generator, log = make_design(SPACE, noise=0.002)
    parallel = [generator.ask() for _ in range(4)]
    assert len({(tuple(one.params.items()), one.replicate) for one in parallel}) == 4
    running = [*log, *((one, None) for one in parallel[:3])]
    again = restored(running, generator.distributions)
    assert again.ask() == parallel[3]  # the same after a kill, those that ran among them


def test_a_resumed_search_asks_the_same() -> None:
    generator, log = make_design(SPACE, noise=0.004)
    for _ in range(3):
        again = restored(log, generator.distributions).ask()
        asked = generator.ask()
        assert again == asked
        finish(generator, asked, noise=0.004, log=log)


def test_where_a_space_holds_few_networks_another_seed_is_asked_for() -> None:
    coarse = TEXT.replace("cmt_nano, resolution: 16", "cmt_pico").replace("step: 2", "step: 14")
    coarse = coarse.replace("[4, 12]", "[4]").replace("tolerance: 0.02", "tolerance: 0.1")
    space = parse_space(
        coarse.replace("knobs: {", "knobs: {depth: {max: 9}, width: {step: 4}, "), source="few"
    )
    generator, log = make_design(space, noise=0.01)
    asked = []
    for _ in range(12):
        one = generator.ask()
        assert one.candidate is not None
        asked.append(one)
        finish(generator, one, noise=0.01, log=log)
    seen = [(one.candidate.rungs[-1].arch.key, one.replicate) for one in asked if one.candidate]
    assert len(set(seen)) == 12, "an ask was answered from the study"
    assert any(one.replicate for one in asked)


def test_a_repeat_tells_as_much_as_a_new_network_only_without_a_nugget() -> None:
    noise = np.array([0.01])
    assert repeat_variance(noise, nugget=np.zeros(1), measured=3) == pytest.approx(noise**2)
    nugget = np.array([0.005])
    once, often = (repeat_variance(noise, nugget=nugget, measured=n) for n in (1, 5))
    assert noise**2 + nugget**2 < once < often


def test_measuring_what_is_in_doubt_shrinks_the_set_most() -> None:
    rng = np.random.default_rng(0)
    sure, doubt = rng.normal(size=(2, 2000))
    effect = np.stack([0.02 * doubt, np.zeros(2000), -0.05 + 0.001 * sure], axis=1)
    at = effect.copy()
    sizes = expected_set_size(effect, at=at, variances=np.full((2000, 3), 1e-6), rng=rng)
    assert sizes[0] < 0.5
    assert sizes[0] < sizes[1] - 0.1
    assert sizes[1] == pytest.approx(sizes[2], abs=0.02)
