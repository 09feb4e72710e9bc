"""Sources of timm and choices of images: what is refused, and what older runs see of them."""

from typing import Any

import pytest

from cmt_search.dataset_spec import DatasetSpec
from cmt_search.errors import DataError
from cmt_search.space import parse_space

RULE = "kind: rule\nbase: {preset: cmt_pico}\nbudgets: {times_base: [3, 6]}\n"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"name": "timm:torch/cifar100", "root": "data"},
            "proxy.dataset.size=None: images of timm:torch/cifar100 are stored as squares; give "
            "their side in pixels, such as 64",
        ),
        (
            {"name": "timm:", "size": 64},
            "proxy.dataset.root is missing; timm: needs the folder it lies in",
        ),
        (
            {"val_split": None},
            "proxy.dataset.val_split has no use: fashion-mnist-10k has splits of its own; "
            "remove it",
        ),
        (
            {"train_split": "training"},
            "proxy.dataset.train_split has no use: fashion-mnist-10k has splits of its own; "
            "remove it",
        ),
        (
            {"classes": 1},
            "proxy.dataset.classes=1 is impossible; give how many, at least 2, or a list of two "
            "names or more, each once",
        ),
        (
            {"classes": ("Bag", "Bag")},
            "proxy.dataset.classes=('Bag', 'Bag') is impossible; give how many, at least 2, or a "
            "list of two names or more, each once",
        ),
        ({"per_class": 0}, "proxy.dataset.per_class=0 is impossible; use at least 1"),
        ({"fraction": 0.0}, "proxy.dataset.fraction=0.0 is impossible; use 0 < fraction <= 1"),
        (
            {"fraction": 0.5, "per_class": 5},
            "proxy.dataset: per_class and fraction both choose images; keep one of them",
        ),
        (
            {"subset_seed": -1},
            "proxy.dataset.subset_seed=-1 is impossible; use 0 to 4294967295",
        ),
    ],
)
def test_an_impossible_choice_is_refused_with_a_remedy(
    values: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError) as caught:
        DatasetSpec(**values)
    assert str(caught.value) == message


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
