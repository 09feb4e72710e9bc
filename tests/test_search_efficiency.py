"""The benchmark of searches: its table, its spaces, what it charges and how it scores."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cmt_search.arch import Arch
from cmt_search.evaluation import CurvePoint, Measurement
from cmt_search.search import RungRecord, TrialRecord, design_points
from cmt_search.space import SearchSpace, parse_space

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
if not BENCHMARKS.exists():
    pytest.skip("the benchmarks are not installed", allow_module_level=True)
sys.path.append(str(BENCHMARKS))  # where scripts find what lies beside them

from tabular import answers, make  # noqa: E402
from tabular.benchmark_data import BenchmarkData, variance_summary  # noqa: E402
from tabular.searchers import Searcher, Trace  # noqa: E402

from cmt_search.space.schema import Sampler  # noqa: E402

SPACE = """
kind: rule
base: {preset: cmt_pico, in_chans: 1}
budgets: {times_base: [3, 6]}
tolerance: 0.03
seeds: 4
proxy: {epochs: 3, dataset: {name: fashion-mnist-10k}}
sampler: {lattice: 0, replicates: 1, rules: [depth-only, width-only, dwr, uniform]}
"""
RANDOM = Sampler(name="random", lattice=0, replicates=1, rules=())


def measurement(arch: Arch, *, seed: int) -> Measurement:
    """Without noise: the wider, the better; each epoch brings a point."""
    final = 0.5 + arch.stages[0].width / 100 + seed / 1000
    curve = tuple(
        CurvePoint(epoch=e, train_loss=1.0, loss=1.0, top1=final - (3 - e) / 100) for e in (1, 2, 3)
    )
    return Measurement(
        top1=final, loss=1.0, curve=curve, correct=b"", images=50, seconds=6.0, seed=seed,
        device="cpu",
    )  # fmt: skip


def trials(space: SearchSpace) -> list[TrialRecord]:
    found = []
    for number, point in enumerate(design_points(space)):
        candidate = space.candidate(point.params, point.name)
        records = tuple(
            RungRecord(
                rung=rung,
                measurements=tuple(measurement(rung.arch, seed=s) for s in range(space.seeds)),
                reused=(False,) * space.seeds,
            )
            for rung in candidate.rungs
        )
        found.append(
            TrialRecord(
                number=number,
                state="complete",
                name=point.name,
                params=dict(point.params),
                shares=candidate.shares.values if candidate.shares else None,
                rungs=records,
            )
        )
    return found


@pytest.fixture(scope="module")
def space() -> SearchSpace:
    return parse_space(SPACE, source="test")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, space: SearchSpace) -> BenchmarkData:
    """A table as `make.py` writes it."""
    path = tmp_path_factory.mktemp("table") / "table.csv"
    every = trials(space)
    path.write_text(make.as_csv([row for trial in every for row in make.rows_of(trial)]))
    rungs = [record.rung for trial in every for record in trial.rungs]
    networks = {rung.arch.key: rung.arch.to_dict() for rung in rungs}
    about = {"space": SPACE, "train_images": 100, "networks": networks}
    path.with_suffix(".json").write_text(json.dumps(about))
    return BenchmarkData.read(path)


def test_a_table_holds_each_training_at_each_length_of_its_curve(data: BenchmarkData) -> None:
    key = data.largest[0]
    width = data.by_key[key].arch.stages[0].width
    assert data.top1(key, seed=2, epochs=1) == pytest.approx(0.48 + width / 100 + 0.002)
    assert data.table.measurement(key, epochs=1, seed=2).seconds == 2.0, "a third of 6"
    assert (data.lengths, data.table.seeds) == ((1, 3), (0, 1, 2, 3))


def test_the_relief_of_equal_seeds_apart_is_the_networks_alone(data: BenchmarkData) -> None:
    variance = variance_summary(data)
    widths = [data.by_key[key].arch.stages[0].width for key in data.largest]
    assert variance.spread == pytest.approx(max(widths) - min(widths)), "a point per channel"
    assert variance.within == pytest.approx(0.129, abs=0.001), "seeds 0 to 3 are a tenth apart"


def test_a_rule_that_lacks_a_training_is_left_out_by_name(space: SearchSpace) -> None:
    whole, *rest = trials(space)
    short = replace(whole.rungs[1], measurements=whole.rungs[1].measurements[:1])
    partial = replace(whole, rungs=(whole.rungs[0], short))
    missing = make.missing_rules((partial, *rest[:-1]), space=space)
    assert missing == {whole.name: "5 of 8 trainings measured", rest[-1].name: "not begun"}


def test_a_candidate_is_the_nearest_rule_of_the_table(data: BenchmarkData) -> None:
    rules = Searcher(name="r", kind="rule", halving=True, sampler=RANDOM).space(data, seed=0)
    for rule in data.rules:
        found = rules.candidate(rules.params_of_shares(rule.shares))
        steps = [(rung.arch.key, rung.fidelity.epochs) for rung in found.rungs]
        keys = [rule.members[budget].arch.key for budget in data.budgets]
        assert steps == [(key, epochs) for epochs in (1, 3) for key in keys]
        assert found.shares == rule.shares


def test_a_shape_is_the_nearest_network_of_the_largest_budget(data: BenchmarkData) -> None:
    shapes = Searcher(name="s", kind="shape", halving=False, sampler=RANDOM).space(data, seed=0)
    for key in data.largest:
        arch = data.by_key[key].arch
        params = {"budget": 0, "depth": arch.depth, "resolution": arch.resolution}
        assert [rung.arch.key for rung in shapes.candidate(params).rungs] == [key]


def test_a_longer_training_is_charged_for_what_is_new_and_a_known_one_for_nothing(
    data: BenchmarkData,
) -> None:
    key, trace = data.largest[0], Trace(data=data, limit=1e18)
    whole = data.by_key[key].macs * 3 * 100 * 3
    trace.add(key, epochs=1, seed_index=0, top1=0.5)
    assert trace.spent == pytest.approx(whole / 3)
    for _ in range(2):
        trace.add(key, epochs=3, seed_index=0, top1=0.6)
    assert trace.spent == pytest.approx(whole)
    assert (len(trace.steps), trace.n_repeated) == (2, 1)
    trace.add(key, epochs=3, seed_index=1, top1=0.7)
    assert trace.spent == pytest.approx(2 * whole), "another seed is another training"
    assert [step.top1 for step in trace.within(whole)] == [0.5, 0.6]


@pytest.mark.parametrize(
    ("halving", "asha"), [(False, False), (True, False), (True, True)], ids=["all", "half", "asha"]
)
def test_a_search_with_enough_compute_answers_with_the_best(
    data: BenchmarkData, halving: bool, asha: bool
) -> None:
    if asha:
        pytest.importorskip("syne_tune")
    sampler = None if asha else RANDOM
    searcher = Searcher(name="any", kind="rule", halving=halving, sampler=sampler)
    trace = searcher.search(data, seeds=(1, 3), seed=5, limit=1e18)
    best = max(data.largest, key=lambda key: data.by_key[key].arch.stages[0].width)
    assert answers.measured(data, trace.steps) == best
    seen = {step.top1 for step in trace.steps if step.epochs == 3 and step.network == best}
    assert seen == {data.top1(best, seed=1)}, "the first of the seeds replayed"
    assert trace.spent <= data.macs() * (1 + 1e-9), "each network once"


def test_a_search_ends_where_its_compute_does(data: BenchmarkData) -> None:
    searcher = Searcher(name="any", kind="rule", halving=False, sampler=RANDOM)
    limit = 0.4 * data.macs()
    trace = searcher.search(data, seeds=(0,), seed=1, limit=limit)
    assert trace.steps[-2].spent < limit <= trace.spent


def test_without_a_network_of_the_largest_budget_an_answer_is_blind(data: BenchmarkData) -> None:
    scores = data.scores((0, 2))
    small = [step for step in answers.full_grid(data, seen=(0,)) if step.network not in scores]
    assert answers.measured(data, small) is None
    assert answers.score(None, scores) == pytest.approx(sum(scores.values()) / len(scores))


def test_no_seed_that_scores_is_seen_and_every_way_to_split_has_its_turn() -> None:
    found = answers.splits((0, 1, 2, 3), seen=2, repeats=12)
    assert all(sorted((*s.seen, *s.scoring)) == [0, 1, 2, 3] for s in found)
    ways: dict[Any, int] = {}
    for split in found:
        ways[frozenset(split.seen)] = ways.get(frozenset(split.seen), 0) + 1
    assert list(ways.values()) == [2] * 6


@pytest.mark.skipif(
    not (BENCHMARKS / "tabular" / "fashion.csv").exists(), reason="the table is not made yet"
)
def test_the_table_that_is_shipped_can_be_replayed() -> None:
    held = BenchmarkData.read(BENCHMARKS / "tabular" / "fashion.csv")
    assert all(rung.arch.key == key for key, rung in held.by_key.items()), "rebuilt exactly"
    trainings = len(held.by_key) * len(held.table.seeds) * len(held.table.lengths)
    assert len(held.table.measurements) == trainings, "no gaps"
