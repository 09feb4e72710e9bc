"""A table of trainings answers a search as the trainings did, and says what it lacks."""

import csv
import pickle
from collections.abc import Iterator
from pathlib import Path

import pytest

from cmt_search.arch import Arch, Stage
from cmt_search.errors import DataError
from cmt_search.evaluation import CurvePoint, Fidelity, TrainingFailed
from cmt_search.search import RunDir, TrialRecord, design, read_trials, run_search
from cmt_search.search.scheduler import training_seed
from cmt_search.tabular import COLUMNS, Table, TableEvaluator, TableFactory
from tests.search.lookup import FakeSampler, FakeSpace, measure

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


def test_a_training_is_answered_with_its_result_and_the_curve_that_led_to_it(table: Path) -> None:
    found = Table.read(table).measurement(ARCH.key, epochs=2, seed=5)
    assert (found.top1, found.loss, found.seconds, found.images) == (0.52, 1.0, 4.0, 50)
    assert found.curve == (
        CurvePoint(epoch=1, train_loss=1.5, loss=1.0, top1=0.51),
        CurvePoint(epoch=2, train_loss=1.5, loss=1.0, top1=0.52),
    )


def test_the_nth_measurement_of_a_search_gets_the_nth_seed_replayed(table: Path) -> None:
    one_each = TableFactory(path=table, seeds=(9, 4), first=7)()
    two_each = TableFactory(path=table, seeds=(9, 4), first=7, each=2)()
    later = training_seed(7, replicate=1, place=0)
    beside = training_seed(7, replicate=0, place=1)
    asked = [(one_each, 7), (one_each, later), (two_each, 7), (two_each, beside)]
    found = [ask(ARCH, fidelity=Fidelity(epochs=1), seed=seed) for ask, seed in asked]
    assert [m.top1 for m in found] == [0.91, 0.41, 0.91, 0.41]
    assert [m.seed for m in found] == [seed for _, seed in asked], "a ledger checks the seed"


def test_all_seeds_are_replayed_unless_told_and_the_factory_can_be_pickled(table: Path) -> None:
    made: TableEvaluator = pickle.loads(pickle.dumps(TableFactory(path=table)))()
    assert made.seeds == (4, 5, 9)


def refusals(table: Path) -> Iterator[tuple[TableFactory, Arch, int, int, str]]:
    other = Arch.from_dict({**ARCH.to_dict(), "resolution": 32})
    all_of_it = TableFactory(path=table)
    yield all_of_it, other, 1, 0, f"none of the table's 1 ({ARCH.key}); search a space that holds"
    yield all_of_it, ARCH, 7, 0, "no training of 7 epochs of network"
    yield all_of_it, ARCH, 7, 0, "but of 1, 2; set proxy.epochs or ladder.epochs to these"
    yield all_of_it, ARCH, 1, 1, "none of a search that begins at 0 and trains 1 times a rung"
    yield TableFactory(path=table, first=3), ARCH, 1, 0, "give the table `first` and `each`"


@pytest.mark.parametrize("case", range(5))
def test_what_the_table_lacks_is_refused_with_what_it_holds(table: Path, case: int) -> None:
    factory, arch, epochs, seed, message = list(refusals(table))[case]
    with pytest.raises(DataError) as refused:
        factory()(arch, fidelity=Fidelity(epochs=epochs), seed=seed)
    assert message in str(refused.value)


def test_a_network_that_lacks_one_seed_names_those_it_has(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", [*rows(), {**rows()[0], "network": "other"}])
    with pytest.raises(DataError, match=r"network other from seed 9, but from 4; replay these"):
        Table.read(path).measurement("other", epochs=1, seed=9)


def test_a_search_that_wants_more_seeds_than_are_replayed_goes_on_without(table: Path) -> None:
    evaluator = TableFactory(path=table, seeds=(5,))()
    with pytest.raises(TrainingFailed, match=r"training 2 of network .* replays 1 of its seeds"):
        evaluator(ARCH, fidelity=Fidelity(epochs=1), seed=1000)


def test_seeds_to_replay_that_the_table_lacks_are_named(table: Path) -> None:
    with pytest.raises(DataError, match=r"nothing from seed 6, 8; replay some of 4, 5, 9"):
        TableFactory(path=table, seeds=(4, 8, 6))()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "cannot be read"),
        ("network,epochs\n", "lacks columns seed, train_loss"),
        (",".join(COLUMNS) + "\n", "holds no training"),
        (",".join(COLUMNS) + "\nabc,1,0,1,1,much,1,1\n", "t.csv:2 cannot be read"),
        (",".join(COLUMNS) + "\nabc,1\n", "t.csv:2 cannot be read"),
    ],
)
def test_a_file_that_is_no_table_is_refused(tmp_path: Path, text: str | None, message: str) -> None:
    path = tmp_path / "t.csv"
    if text is not None:
        path.write_text(text)
    with pytest.raises(DataError) as refused:
        Table.read(path)
    assert message in str(refused.value)


def trained(space: FakeSpace) -> list[Row]:
    """All that the space's design measures, as `tests.search.lookup` would answer it."""
    every = [(space.candidate(p.params), p.replicate) for p in design(space)]
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


def searched(folder: Path, space: FakeSpace, factory: TableFactory) -> tuple[TrialRecord, ...]:
    run = RunDir.create(folder, space_yaml="", fingerprint=space.fingerprint)
    outcome = run_search(run, space, factory, executor="inline")
    assert (outcome.stopped, outcome.failed) == ("finished", 0)
    return read_trials(folder)


def test_a_replayed_search_gets_what_the_trainings_measured(tmp_path: Path) -> None:
    space = FakeSpace(sampler=FakeSampler(lattice=1, replicates=2), seed=50)
    path = write(tmp_path / "table.csv", trained(space))
    factory = TableFactory(path=path, seeds=(7, 1007), first=50)
    trials = searched(tmp_path / "replayed", space, factory)
    assert {t.replicate for t in trials} == {0, 1}
    for trial in trials:
        last = trial.rungs[-1].rung
        seed = (7, 1007)[trial.replicate]
        assert trial.values == (measure(last.arch, fidelity=last.fidelity, seed=seed).top1,)


def test_a_search_beyond_the_table_ends_with_what_to_do(tmp_path: Path) -> None:
    path = write(tmp_path / "table.csv", rows())
    with pytest.raises(DataError, match="search a space that holds only the table's networks"):
        searched(tmp_path / "run", FakeSpace(), TableFactory(path=path, first=7))
