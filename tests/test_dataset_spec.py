"""Sources of timm and choices of images: what is refused, and what older runs see of them."""

import re
from typing import Any

import pytest

from cmt_search.dataset_spec import DatasetSpec
from cmt_search.errors import SpaceError
from cmt_search.space import parse_space

RULE = "kind: rule\nbase: {preset: cmt_pico}\nbudgets: {times_base: [3, 6]}\n"


@pytest.mark.parametrize(
    ("values", "key", "remedy"),
    [
        ({"name": "timm:torch/cifar100", "root": "data"}, "size", "such as 64"),
        ({"name": "timm:", "size": 64}, "root", "needs the folder"),
        ({"val_split": None}, "val_split", "remove it"),
        ({"train_split": "training"}, "train_split", "remove it"),
        ({"classes": 1}, "classes", "from 2"),
        ({"classes": ("Bag", "Bag")}, "classes", "two names or more, each once"),
        ({"classes": ()}, "classes", "two names or more, each once"),
        ({"per_class": 0}, "per_class", "from 1"),
        ({"fraction": 0.0}, "fraction", "from 0.0001 to 1"),
        ({"fraction": 0.5, "per_class": 5}, "per_class and fraction", "keep one of them"),
        ({"subset_seed": -1}, "subset_seed", "from 0"),
    ],
)
def test_an_impossible_choice_is_refused_with_a_remedy(
    values: dict[str, Any], key: str, remedy: str
) -> None:
    with pytest.raises(SpaceError, match=rf"^(dataset\.)?{key}\b.*{re.escape(remedy)}"):
        DatasetSpec(**values)


def test_images_of_hugging_face_may_lie_in_its_own_cache() -> None:
    assert DatasetSpec(name="timm:hfds/owner/set", size=64).root is None


def test_what_timm_reads_has_the_size_it_is_stored_at() -> None:
    spec = DatasetSpec(name="timm:torch/cifar100", root="data", size=32)
    assert (spec.native_resolution, spec.in_chans, spec.num_classes) == (32, 3, None)
    assert spec.of_timm == "torch/cifar100"


@pytest.mark.parametrize(("classes", "count"), [(4, 4), (("Bag", "Coat", "Shirt"), 3), (None, 10)])
def test_a_choice_of_classes_counts(classes: Any, count: int) -> None:
    assert DatasetSpec(classes=classes).num_classes == count


def test_a_space_file_chooses_classes_by_number_or_name() -> None:
    def chosen(text: str) -> DatasetSpec:
        space = parse_space(RULE + f"proxy: {{dataset: {{{text}}}}}", source="test")
        assert parse_space(space.to_yaml(), source="test") == space
        return space.proxy.dataset

    assert chosen("classes: 4").classes == 4
    assert chosen("classes: [Bag, Coat], per_class: 5").classes == ("Bag", "Coat")


def test_a_choice_of_images_is_another_search_and_none_is_the_same_as_before() -> None:
    def fingerprint(text: str) -> str:
        return parse_space(RULE + text, source="test").fingerprint

    plain = fingerprint("")
    assert fingerprint("proxy: {dataset: {subset_seed: 0}}") == plain
    for text in ("classes: 4", "per_class: 5", "fraction: 0.5", "subset_seed: 1"):
        assert fingerprint(f"proxy: {{dataset: {{{text}}}}}") != plain
