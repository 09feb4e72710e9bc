"""Data sets and recipes refuse the impossible by key path; the schedule is the one described."""

import math
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cmt_search.dataset_spec import EMBEDDED, DatasetSpec
from cmt_search.errors import DataError, SpaceError
from cmt_search.recipe import Recipe


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"name": "mnist"},
            "proxy.dataset.name='mnist' is unknown; use one of fashion-mnist-10k, fashion-mnist, "
            "cifar10, folder",
        ),
        (
            {"split": "test"},
            "proxy.dataset.split='test' is unknown; use search or sealed",
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
    assert DatasetSpec() == DatasetSpec(name=EMBEDDED, split="search")


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
        ({"crop_padding": 0.6}, "crop_padding=0.6 is impossible; use 0 to 0.5"),
        ({"clip_grad": 0.0}, "clip_grad=0.0 is impossible; use about 1, or null for none"),
        ({"pos_std": -1.0}, "pos_std=-1.0 is impossible; use about 0.02"),
    ],
)
def test_an_impossible_recipe_is_refused_with_its_key_path_and_a_remedy(
    values: dict[str, Any], message: str
) -> None:
    with pytest.raises(SpaceError) as caught:
        Recipe(**values)
    assert str(caught.value) == f"proxy.recipe.{message}"


@given(
    steps=st.integers(2, 400),
    warmup=st.floats(0, 0.9),
)
def test_the_learning_rate_rises_to_its_peak_and_then_falls_towards_zero(
    steps: int, warmup: float
) -> None:
    recipe = Recipe(lr=0.01, warmup_fraction=warmup)
    rates = [recipe.lr_at(step, steps=steps) for step in range(steps)]
    peak = math.ceil(warmup * steps)
    assert all(0 < rate <= recipe.lr for rate in rates)
    assert all(a < b for a, b in pairwise(rates[: peak + 1]))
    assert all(a > b for a, b in pairwise(rates[peak:]))
    if peak < steps:
        assert rates[peak] == recipe.lr


def test_the_learning_rate_is_the_cosine_s_by_hand() -> None:
    recipe = Recipe(lr=1.0, warmup_fraction=0.2)
    rates = [recipe.lr_at(step, steps=10) for step in range(10)]
    assert rates[:3] == pytest.approx([1 / 3, 2 / 3, 1.0])
    assert rates[6] == pytest.approx(0.5)  # half of the eight steps of the cosine
    assert rates[9] == pytest.approx(0.5 * (1 + math.cos(math.pi * 7 / 8)))
