"""Data sets and recipes refuse the impossible by key path; rates scale as described."""

import math
from typing import Any

import pytest

from cmt_search.dataset_spec import EMBEDDED, DatasetSpec
from cmt_search.errors import DataError, SpaceError
from cmt_search.recipe import Augment, Recipe, TwoPhase


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"name": "mnist"},
            "proxy.dataset.name='mnist' is unknown; use one of fashion-mnist-10k, fashion-mnist, "
            "cifar10, folder, or timm:NAME for what timm.data.create_dataset reads",
        ),
        (
            {"split": "search"},
            "proxy.dataset.split='search' is unknown; use validation or test",
        ),
        (
            {"root": "data"},
            "proxy.dataset.root has no use: fashion-mnist-10k is part of the package; remove it",
        ),
        (
            {"name": "cifar10"},
            "proxy.dataset.root is missing; cifar10 needs the folder it lies in",
        ),
        (
            {"name": "cifar10", "root": "data", "size": 32},
            "proxy.dataset.size has no use: cifar10 has a size of its own; remove it",
        ),
        (
            {"name": "folder", "root": "data"},
            "proxy.dataset.size=None: images of a folder are stored as squares; give their side in "
            "pixels, such as 64",
        ),
        (
            {"name": "folder", "root": "data", "size": 0},
            "proxy.dataset.size=0: images of a folder are stored as squares; give their side in "
            "pixels, such as 64",
        ),
    ],
)
def test_an_impossible_data_set_is_refused_with_a_remedy(
    values: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError) as caught:
        DatasetSpec(**values)
    assert str(caught.value) == message


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
    ("values", "message"),
    [
        ({"batch": 1}, "batch=1 is impossible; use at least 2: BatchNorm needs two"),
        ({"lr": 0.0}, "lr=0.0 is impossible; use about 0.004"),
        ({"lr": math.nan}, "lr=nan is impossible; use about 0.004"),
        ({"weight_decay": -0.1}, "weight_decay=-0.1 is impossible; use about 0.05"),
        ({"warmup_fraction": 1.0}, "warmup_fraction=1.0 is impossible; use 0 to below 1"),
        ({"label_smoothing": 1.5}, "label_smoothing=1.5 is impossible; use 0 to below 1"),
        ({"drop_path": -0.1}, "drop_path=-0.1 is impossible; use 0 to below 1"),
        ({"clip_grad": 0.0}, "clip_grad=0.0 is impossible; use about 1, or null for none"),
        ({"pos_std": -1.0}, "pos_std=-1.0 is impossible; use about 0.02"),
        ({"optimizer": "adamm"}, "optimizer='adamm' is unknown; use adamw, sgd, lion, muon"),
        ({"schedule": "step"}, "schedule='step' is unknown; use cosine, one-cycle, constant, wsd"),
        ({"final_lr": 1.5}, "final_lr=1.5 is impossible; use 0 to 1, a part of lr"),
        ({"momentum": 1.0}, "momentum=1.0 is impossible; use 0 to below 1"),
        (
            {"betas": (0.9, 1.0)},
            "betas=(0.9, 1.0) is impossible; use two decays such as [0.9, 0.999], or null",
        ),
        ({"ema": 1.0}, "ema=1.0 is impossible; use about 0.999, or null for no average"),
        (
            {"lr_sizes": (0, 1, 1)},
            "lr_sizes=(0, 1, 1) is impossible; use [blocks, channels, pixels], "
            "or null for no scaling",
        ),
        (
            {"lr_batch_power": 3.0},
            "lr_batch_power=3.0 is impossible; use 1, or 0.5 for a square root",
        ),
        (
            {"batch": 64, "micro_batch": 48},
            "micro_batch=48 is impossible; use a divisor of batch=64 from 2 on, or null",
        ),
    ],
)
def test_an_impossible_recipe_is_refused_with_its_key_path_and_a_remedy(
    values: dict[str, Any], message: str
) -> None:
    with pytest.raises(SpaceError) as caught:
        Recipe(**values)
    assert str(caught.value) == f"proxy.recipe.{message}"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"at": 1.0}, "at=1.0 is impossible; use a fraction of the steps, such as 0.75"),
        ({"optimizer": "adam"}, "optimizer='adam' is unknown; use adamw, sgd, lion, muon"),
        ({"lr": -1.0}, "lr=-1.0 is impossible; use about 0.001"),
        ({"schedule": "one-cycle"}, "schedule='one-cycle' is unknown; use cosine, constant"),
    ],
)
def test_an_impossible_second_phase_is_refused_with_its_key_path_and_a_remedy(
    values: dict[str, Any], message: str
) -> None:
    with pytest.raises(SpaceError) as caught:
        TwoPhase(**values)
    assert str(caught.value) == f"proxy.recipe.two_phase.{message}"


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
