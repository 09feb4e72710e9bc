"""Data sets and recipes refuse the impossible by key path; rates scale as described."""

import math
import re
from typing import Any

import pytest

from cmt_search.dataset_spec import EMBEDDED, DatasetSpec
from cmt_search.errors import SpaceError
from cmt_search.recipe import Augment, Recipe, TwoPhase


@pytest.mark.parametrize(
    ("values", "key", "remedy"),
    [
        ({"name": "mnist"}, "name", "cifar10, folder, or timm:NAME"),
        ({"split": "search"}, "split", "use validation or test"),
        ({"root": "data"}, "root", "remove it"),
        ({"name": "cifar10"}, "root", "needs the folder"),
        ({"name": "cifar10", "root": "data", "size": 32}, "size", "remove it"),
        ({"name": "folder", "root": "data"}, "size", "such as 64"),
        ({"name": "folder", "root": "data", "size": 0}, "size", "from 1 to 4,096"),
    ],
)
def test_an_impossible_data_set_is_refused_with_a_remedy(
    values: dict[str, Any], key: str, remedy: str
) -> None:
    with pytest.raises(SpaceError, match=rf"^(dataset\.)?{key}\b.*; .*{re.escape(remedy)}"):
        DatasetSpec(**values)


@pytest.mark.parametrize(
    ("values", "side"),
    [
        ({}, 28),
        ({"name": "fashion-mnist", "root": "data"}, 28),
        ({"name": "cifar10", "root": "data"}, 32),
        ({"name": "folder", "root": "data", "size": 64}, 64),
    ],
)
def test_the_native_resolution_is_that_of_the_stored_images(
    values: dict[str, Any], side: int
) -> None:
    assert DatasetSpec(**values).native_resolution == side


def test_the_embedded_data_set_is_the_default() -> None:
    assert DatasetSpec() == DatasetSpec(name=EMBEDDED, split="validation")


@pytest.mark.parametrize(
    ("values", "remedy"),
    [
        ({"batch": 1}, "from 2 to"),
        ({"lr": 0.0}, "above 0"),
        ({"lr": math.nan}, "above 0"),
        ({"lr": 1e300}, "at most 100"),
        ({"weight_decay": -0.1}, "from 0 to 10"),
        ({"warmup_fraction": 1.0}, "below 1"),
        ({"label_smoothing": 1.5}, "below 1"),
        ({"drop_path": -0.1}, "at least 0"),
        ({"clip_grad": 0.0}, "above 0 .* or null"),
        ({"pos_std": -1.0}, "from 0"),
        ({"optimizer": "adamm"}, "adamw, sgd, lion or muon"),
        ({"schedule": "step"}, "cosine, one-cycle, constant or wsd"),
        ({"final_lr": 1.5}, "from 0 to 1"),
        ({"momentum": 1.0}, "below 1"),
        ({"betas": (0.9, 1.0)}, "list of 2, each .* below 1 or null"),
        ({"betas": (0.9,)}, "list of 2"),
        ({"ema": 1.0}, "below 1 or null"),
        ({"lr_sizes": (0, 1, 1)}, "list of 3, each a whole number"),
        ({"lr_batch_power": 3.0}, "from 0 to 2"),
        ({"batch": 64, "micro_batch": 48}, "a divisor"),
        ({"decay_position": 1}, "true or false"),
        ({"augment": None}, "a mapping"),
    ],
)
def test_an_impossible_recipe_is_refused_with_its_key_and_a_remedy(
    values: dict[str, Any], remedy: str
) -> None:
    key = list(values)[-1]
    with pytest.raises(SpaceError, match=rf"^(recipe\.)?{key}=.*; use .*{remedy}"):
        Recipe(**values)


@pytest.mark.parametrize(
    ("values", "remedy"),
    [
        ({"at": 1.0}, "above 0 and below 1"),
        ({"optimizer": "adam"}, "adamw, sgd, lion or muon"),
        ({"lr": -1.0}, "above 0"),
        ({"schedule": "one-cycle"}, "cosine or constant"),
    ],
)
def test_an_impossible_second_phase_is_refused_with_its_key_and_a_remedy(
    values: dict[str, Any], remedy: str
) -> None:
    (key,) = values
    with pytest.raises(SpaceError, match=rf"^two_phase\.{key}=.*; use .*{remedy}"):
        TwoPhase(**values)


def test_the_learning_rate_grows_with_the_batch_as_the_power_says() -> None:
    assert Recipe(batch=256).lr_scale(sizes=(9, 8, 32)) == 1
    assert Recipe(batch=256, lr_batch=64).lr_scale(sizes=(9, 8, 32)) == 4
    assert Recipe(batch=256, lr_batch=64, lr_batch_power=0.5).lr_scale(sizes=(9, 8, 32)) == 2
    assert Recipe(batch=256, lr_batch=64).lr_scale(sizes=(9, 8, 32), batch=32) == 0.5


def test_the_learning_rate_falls_with_the_width_as_the_power_says() -> None:
    own = {"lr_sizes": (9, 16, 32)}
    assert Recipe(**own).lr_scale(sizes=(9, 32, 32)) == 0.5
    assert Recipe(**own).lr_scale(sizes=(18, 16, 64)) == 1
    assert Recipe(**own, lr_powers=(-0.5, -1, 1)).lr_scale(sizes=(36, 64, 64)) == 0.5 * 0.25 * 2


def test_drop_path_is_the_rate_given_or_grows_with_depth_up_to_a_limit() -> None:
    assert Recipe(drop_path=0.2).drop_path_rate(50) == 0.2
    scaled = Recipe(drop_path=0.2, drop_path_depth=10)
    assert [scaled.drop_path_rate(depth) for depth in (5, 10, 20, 1000)] == [0.1, 0.2, 0.4, 0.9]


def test_strong_regularisation_in_a_short_training_is_noted_by_its_key() -> None:
    strong = Recipe(drop_path=0.1, augment=Augment(mixup=0.2, cutmix=1.0, rand_augment=2))
    keys = [note.split(" is on")[0] for note in strong.notes(epochs=29)]
    assert keys == [
        "proxy.recipe.drop_path",
        "proxy.recipe.augment.mixup",
        "proxy.recipe.augment.cutmix",
        "proxy.recipe.augment.rand_augment",
    ]
    assert "in a training of 29 epochs" in strong.notes(epochs=29)[0]
    assert strong.notes(epochs=30) == Recipe().notes(epochs=1) == ()


@pytest.mark.parametrize(
    ("changes", "shared"),
    [
        ({"schedule": "constant"}, 10),
        ({"schedule": "wsd", "decay_fraction": 0.2}, 8),
        ({"schedule": "constant", "warmup_epochs": None, "warmup_fraction": 0.0}, 10),
        ({"schedule": "wsd", "decay_fraction": 1.0}, 0),
        ({"schedule": "cosine"}, 0),  # its rates depend on the length
        ({"schedule": "constant", "warmup_epochs": None}, 0),  # is longer in a longer training
        (
            {"schedule": "constant", "two_phase": TwoPhase(at=0.5)},
            0,
        ),  # begins later
    ],
)
def test_epochs_are_shared_as_far_as_they_do_not_depend_on_the_length(
    changes: dict[str, Any], shared: int
) -> None:
    assert Recipe(**{"warmup_epochs": 1, **changes}).shared_epochs(10) == shared
