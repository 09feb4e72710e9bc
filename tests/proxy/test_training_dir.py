"""A longer training takes up what a shorter one of the same network has been through."""

from dataclasses import replace
from pathlib import Path

import pytest

from cmt_search.arch import Arch
from cmt_search.errors import DataError
from cmt_search.evaluation import Fidelity, Measurement
from cmt_search.proxy import Dataset, ImageSet, Recipe, train
from cmt_search.proxy.trainer import Training
from cmt_search.recipe import ScheduleName

STEADY = Recipe(batch=32, lr=6e-3, schedule="constant", warmup_epochs=1)
SHORT, LONG = (Fidelity(epochs=epochs, data_fraction=0.02) for epochs in (2, 5))  # 5 steps an epoch


@pytest.fixture(scope="module")
def few(embedded: Dataset) -> Dataset:
    """With 60 validation images."""
    val = ImageSet(images=embedded.val.images[:60], labels=embedded.val.labels[:60])
    return replace(embedded, val=val)


@pytest.fixture
def epochs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The epochs that are trained, as they come."""
    trained: list[int] = []
    real = Training.advance

    def advance(self: Training) -> None:
        trained.append(len(self.curve) + 1)
        real(self)

    monkeypatch.setattr(Training, "advance", advance)
    return trained


def _numbers(measurement: Measurement) -> Measurement:
    return replace(measurement, seconds=0.0, shared_seconds=0.0)


@pytest.mark.parametrize(
    ("changes", "taken_up"),
    [
        ({"drop_path": 0.2, "ema": 0.9}, 2),
        ({"schedule": "wsd", "decay_fraction": 0.5, "optimizer": "muon"}, 1),
        ({"warmup_epochs": None, "warmup_fraction": 0.0}, 2),
    ],
    ids=["constant, averaged", "wsd", "no warm-up"],
)
def test_a_longer_training_goes_on_from_a_shorter_one_to_the_numbers_it_has_from_scratch(
    tiny: Arch,
    few: Dataset,
    tmp_path: Path,
    epochs: list[int],
    changes: dict[str, object],
    taken_up: int,
) -> None:
    recipe = replace(STEADY, **changes)  # type: ignore[arg-type]
    scratch = train(tiny, data=few, recipe=recipe, fidelity=LONG, seed=3)
    train(tiny, data=few, recipe=recipe, fidelity=SHORT, seed=3, folder=tmp_path)
    epochs.clear()
    found = train(tiny, data=few, recipe=recipe, fidelity=LONG, seed=3, folder=tmp_path)
    assert epochs == list(range(taken_up + 1, 6))
    assert _numbers(found) == _numbers(scratch)
    assert 0 < found.spent < found.seconds
    assert scratch.spent == scratch.seconds


def test_a_training_whose_recipe_shares_no_epochs_starts_from_scratch(
    tiny: Arch, few: Dataset, tmp_path: Path, epochs: list[int]
) -> None:
    recipe = replace(STEADY, schedule="cosine")
    for fidelity in (SHORT, LONG):
        train(tiny, data=few, recipe=recipe, fidelity=fidelity, seed=3, folder=tmp_path)
    assert epochs == [1, 2, 1, 2, 3, 4, 5]
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.pt"]


@pytest.mark.parametrize("other", ["seed", "recipe", "fraction", "longer"])
def test_another_training_is_not_taken_up(
    tiny: Arch, few: Dataset, tmp_path: Path, epochs: list[int], other: str
) -> None:
    train(tiny, data=few, recipe=STEADY, fidelity=SHORT, seed=3, folder=tmp_path)
    epochs.clear()
    fidelity = {"fraction": replace(LONG, data_fraction=0.03), "longer": replace(SHORT, epochs=1)}
    train(
        tiny,
        data=few,
        recipe=replace(STEADY, lr=5e-3) if other == "recipe" else STEADY,
        fidelity=fidelity.get(other, LONG),
        seed=4 if other == "seed" else 3,
        folder=tmp_path,
    )
    assert epochs[0] == 1


def test_a_training_that_is_asked_for_again_costs_what_it_cost(
    tiny: Arch, few: Dataset, tmp_path: Path, epochs: list[int]
) -> None:
    settings = {"data": few, "recipe": STEADY, "fidelity": SHORT, "seed": 3, "folder": tmp_path}
    first = train(tiny, **settings)  # type: ignore[arg-type]
    epochs.clear()
    assert train(tiny, **settings) == first  # type: ignore[arg-type]
    assert not epochs
    assert first.spent == first.seconds


def test_a_longer_training_that_is_cut_off_remembers_what_it_took_up(
    tiny: Arch, few: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(tiny, data=few, recipe=STEADY, fidelity=SHORT, seed=3, folder=tmp_path)

    def cut(training: Training) -> None:
        if len(training.curve) == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(tiny, data=few, recipe=STEADY, fidelity=LONG, seed=3, folder=tmp_path, on_epoch=cut)
    found = train(tiny, data=few, recipe=STEADY, fidelity=LONG, seed=3, folder=tmp_path)
    assert _numbers(found) == _numbers(train(tiny, data=few, recipe=STEADY, fidelity=LONG, seed=3))
    assert 0 < found.shared_seconds < found.seconds


@pytest.mark.parametrize(
    ("schedule", "shared"), [("constant", 10), ("wsd", 8), ("cosine", 0), ("one-cycle", 0)]
)
def test_what_trainings_share_hangs_on_the_schedule(schedule: ScheduleName, shared: int) -> None:
    assert replace(STEADY, schedule=schedule).shared_epochs(10) == shared


def test_a_warm_up_in_epochs_needs_a_training_in_epochs(tiny: Arch, few: Dataset) -> None:
    with pytest.raises(DataError) as error:
        train(tiny, data=few, recipe=STEADY, fidelity=replace(SHORT, seconds=1.0), seed=3)
    assert str(error.value) == (
        "proxy.recipe.warmup_epochs=1 cannot be kept in a training that is limited by time; use "
        "warmup_fraction"
    )
