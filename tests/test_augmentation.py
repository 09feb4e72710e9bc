"""Variations of images are refused by key where they are impossible."""

import math
from typing import Any

import pytest

from cmt_search.errors import SpaceError
from cmt_search.recipe import Augment


@pytest.mark.parametrize(
    ("values", "remedy"),
    [
        ({"flip": 1}, "use true or false"),
        ({"translate": 0.6}, "from 0 to 0.5"),
        ({"translate": math.nan}, "from 0 to 0.5"),
        ({"resized_crop": (0.0, 1.0)}, "list of 2, each a number above 0"),
        ({"resized_crop": (0.5, 0.4)}, "swap them"),
        ({"color_jitter": 1.1}, "from 0 to 1"),
        ({"random_erasing": -0.1}, "from 0 to 1"),
        ({"mixup": -1.0}, "from 0 to 10"),
        ({"cutmix": math.inf}, "from 0 to 10"),
        ({"rand_augment": 9}, "from 0 to 8"),
        ({"rand_augment": True}, "a whole number"),
        ({"rand_magnitude": 11.0}, "from 0 to 10"),
    ],
)
def test_an_impossible_variation_is_refused_by_its_key(values: dict[str, Any], remedy: str) -> None:
    (key,) = values
    with pytest.raises(SpaceError, match=rf"^(augment\.)?{key}[=:].*; .*{remedy}"):
        Augment(**values)


def test_the_defaults_suit_short_trainings() -> None:
    plain = Augment()
    assert not plain.mixes
    assert (plain.rand_augment, plain.random_erasing, plain.color_jitter) == (0, 0, 0)
    assert Augment(mixup=0.2).mixes
    assert Augment(cutmix=1.0).mixes
