"""Variations of images are refused by key where they are impossible."""

import math
from typing import Any

import pytest

from cmt_search.errors import SpaceError
from cmt_search.recipe import Augment


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"flip": 1}, "flip=1 is impossible; use true or false"),
        ({"translate": 0.6}, "translate=0.6 is impossible; use 0 to 0.5"),
        ({"translate": math.nan}, "translate=nan is impossible; use 0 to 0.5"),
        (
            {"resized_crop": (0.0, 1.0)},
            "resized_crop=(0.0, 1.0) is impossible; use the least and the largest area, such as "
            "[0.35, 1], or null for none",
        ),
        (
            {"resized_crop": (0.5, 0.4)},
            "resized_crop=(0.5, 0.4) is impossible; use the least and the largest area, such as "
            "[0.35, 1], or null for none",
        ),
        ({"color_jitter": 1.1}, "color_jitter=1.1 is impossible; use 0 to 1"),
        ({"random_erasing": -0.1}, "random_erasing=-0.1 is impossible; use 0 to 1"),
        ({"mixup": -1.0}, "mixup=-1.0 is impossible; use about 0.2, or 0 for none"),
        ({"cutmix": math.inf}, "cutmix=inf is impossible; use about 1, or 0 for none"),
        ({"rand_augment": 9}, "rand_augment=9 is impossible; use 0 to 8 operations, such as 2"),
        ({"rand_augment": True}, "rand_augment=True is impossible; use 0 to 8 operations"),
        ({"rand_magnitude": 11.0}, "rand_magnitude=11.0 is impossible; use 0 to 10"),
    ],
)
def test_an_impossible_variation_is_refused_by_its_key(
    values: dict[str, Any], message: str
) -> None:
    with pytest.raises(SpaceError) as caught:
        Augment(**values)
    assert str(caught.value).startswith(f"proxy.recipe.augment.{message}")


def test_the_defaults_suit_short_trainings() -> None:
    plain = Augment()
    assert not plain.mixes
    assert (plain.rand_augment, plain.random_erasing, plain.color_jitter) == (0, 0, 0)
    assert Augment(mixup=0.2).mixes
    assert Augment(cutmix=1.0).mixes
