"""The tabular benchmark: a search receives the recorded trainings."""

import csv
import sys
from functools import partial
from pathlib import Path

import pytest

from cmt_search.arch import Arch, Stage
from cmt_search.errors import DataError
from cmt_search.evaluation import CurvePoint, Fidelity, TrainingFailed
from cmt_search.search import RunDir, TrialRecord, design_points, read_trials, run_search
from cmt_search.search.running_trial import training_seed
from tests.search.lookup import FakeSampler, FakeSpace, measure

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
if not BENCHMARKS.exists():
    pytest.skip("the benchmarks are not installed", allow_module_level=True)
sys.path.append(str(BENCHMARKS))

from tabular.table import COLUMNS, TabularBenchmark, TabularEvaluator  # noqa: E402

ARCH = Arch(
    resolution=16,
    stem_width=8,
    stages=(Stage(depth=1, width=8, heads=1),),
    neck_width=8,
    num_classes=10,
)
Row = dict[str, object]


def rows(*, seeds: tuple[int, ...] = (4, 5, 9), lengths: tuple[int, ...] = (1, 2)) -> list[Row]:
    return [
        {
            "network": ARCH.key, "epochs": e, "seed": s, "train_loss": 1.5, "loss": 1.0,
            "top1": round(s / 10 + e / 100, 2), "seconds": 2.0 * e, "images": 50,
        }
        for s in seeds
        for e in lengths
    ]  # fmt: skip


def write(path: Path, table: list[Row]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(table[0]))
        writer.writeheader()
        writer.writerows(table)
    return path


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return write(tmp_path / "table.csv", rows())


def test_a_measurement_has_the_shorter_trainings_as_its_curve(table: Path) -> None:
    found = TabularBenchmark.read(table).measurement(ARCH.key, epochs=2, seed=5)
    assert (found.top1, found.loss, found.seconds, found.images) == (0.52, 1.0, 4.0, 50)
    assert found.curve == (
        CurvePoint(epoch=1, train_loss=1.5, loss=1.0, top1=0.51),
        CurvePoint(epoch=2, train_loss=1.5, loss=1.0, top1=0.52),
    )


def test_the_nth_training_of_a_search_returns_the_nth_replayed_seed(table: Path) -> None:
    single = TabularEvaluator.read(table, seeds=(9, 4), first_seed=7)
    double = TabularEvaluator.read(table, seeds=(9, 4), first_seed=7, seeds_per_rung=2)
    replicate = training_seed(7, replicate=1, seed_index=0)
    second = training_seed(7, replicate=0, seed_index=1)
    calls = [(single, 7), (single, replicate), (double, 7), (double, second)]
    found = [evaluate(ARCH, fidelity=Fidelity(epochs=1), seed=seed) for evaluate, seed in calls]
    assert [m.top1 for m in found] == [0.91, 0.41, 0.91, 0.41]
    assert [m.seed for m in found] == [seed for _, seed in calls], "the scheduler checks the seed"


def test_all_seeds_are_replayed_by_default(table: Path) -> None:
    assert TabularEvaluator.read(table).seeds == (4, 5, 9)


OTHER = Arch.from_dict({**ARCH.to_dict(), "resolution": 32})


@pytest.mark.parametrize(
    ("first", "arch", "epochs", "seed", "message"),
    [
        (0, OTHER, 1, 0, "search a space of the table's networks only"),
        (0, ARCH, 7, 0, "only for 1, 2; set the space's epochs to these"),
        (0, ARCH, 1, 1, "set first_seed and seeds_per_rung"),
        (3, ARCH, 1, 0, "set first_seed and seeds_per_rung"),
    ],
)
def test_what_is_not_in_the_table_is_an_error(
    table: Path, first: int, arch: Arch, epochs: int, seed: int, message: str
) -> None:
    evaluator = TabularEvaluator.read(table, first_seed=first)
    with pytest.raises(DataError, match=message):
        evaluator(arch, fidelity=Fidelity(epochs=epochs), seed=seed)


def test_a_network_that_lacks_one_seed_names_those_it_has(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", [*rows(), {**rows()[0], "network": "other"}])
    with pytest.raises(DataError, match=r"seed 9, only from 4; replay these"):
        TabularBenchmark.read(path).measurement("other", epochs=1, seed=9)


def test_a_training_beyond_the_replayed_seeds_fails(table: Path) -> None:
    evaluator = TabularEvaluator.read(table, seeds=(5,))
    with pytest.raises(TrainingFailed, match=r"training 2 of network .* only 1 seeds"):
        evaluator(ARCH, fidelity=Fidelity(epochs=1), seed=1000)


def test_unknown_seeds_are_named(table: Path) -> None:
    with pytest.raises(DataError, match=r"has no seed 6, 8; replay some of 4, 5, 9"):
        TabularEvaluator.read(table, seeds=(4, 8, 6))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "cannot be read"),
        ("network,epochs\n", "lacks columns seed, train_loss"),
        (",".join(COLUMNS) + "\n", "contains no training"),
        (",".join(COLUMNS) + "\nabc,1,0,1,1,much,1,1\n", "t.csv:2 cannot be read"),
        (",".join(COLUMNS) + "\nabc,1\n", "t.csv:2 cannot be read"),
    ],
)
def test_a_malformed_file_is_refused(tmp_path: Path, text: str | None, message: str) -> None:
    path = tmp_path / "t.csv"
    if text is not None:
        path.write_text(text)
    with pytest.raises(DataError) as refused:
        TabularBenchmark.read(path)
    assert message in str(refused.value)


def trained(space: FakeSpace) -> list[Row]:
    """All that the space's design measures, as `tests.search.lookup` would answer it."""
    every = [(space.candidate(p.params), p.replicate) for p in design_points(space)]
    jobs = {
        (rung.arch.key, rung.fidelity.epochs, 7 + 1000 * replicate): rung
        for candidate, replicate in every
        for rung in candidate.rungs
    }
    return [
        {
            "network": key, "epochs": epochs, "seed": seed, "train_loss": 2.0, "loss": found.loss,
            "top1": found.top1, "seconds": found.seconds, "images": found.images,
        }
        for (key, epochs, seed), rung in jobs.items()
        for found in [measure(rung.arch, fidelity=rung.fidelity, seed=seed)]
    ]  # fmt: skip


def searched(
    folder: Path, space: FakeSpace, factory: partial[TabularEvaluator]
) -> tuple[TrialRecord, ...]:
    run = RunDir.create(folder, space_yaml="", fingerprint=space.fingerprint)
    outcome = run_search(run, space, factory, executor="inline")
    assert (outcome.stopped, outcome.failed) == ("finished", 0)
    return read_trials(folder)


def test_a_replayed_search_receives_the_recorded_measurements(tmp_path: Path) -> None:
    space = FakeSpace(sampler=FakeSampler(lattice=1, replicates=2), seed=50)
    path = write(tmp_path / "table.csv", trained(space))
    factory = partial(TabularEvaluator.read, path, seeds=(7, 1007), first_seed=50)
    trials = searched(tmp_path / "replayed", space, factory)
    assert {t.replicate for t in trials} == {0, 1}
    for trial in trials:
        last = trial.rungs[-1].rung
        seed = (7, 1007)[trial.replicate]
        assert trial.values == (measure(last.arch, fidelity=last.fidelity, seed=seed).top1,)


def test_a_search_beyond_the_table_ends_with_what_to_do(tmp_path: Path) -> None:
    path = write(tmp_path / "table.csv", rows())
    with pytest.raises(DataError, match="search a space of the table's networks only"):
        searched(tmp_path / "run", FakeSpace(), partial(TabularEvaluator.read, path, first_seed=7))
