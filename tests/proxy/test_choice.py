"""Choices of classes and images: stratified, seeded, nested, and after the folds."""

from typing import Any

import pytest
import torch

from cmt_search.errors import DataError
from cmt_search.proxy import Dataset, DatasetSpec, load_dataset


def _load(**values: Any) -> Dataset:
    return load_dataset(DatasetSpec(**values))


def _images(data: Dataset) -> set[bytes]:
    return {image.numpy().tobytes() for image in data.train.images}


def test_drawn_classes_are_nested_and_seeded(embedded: Dataset) -> None:
    three, five = _load(classes=3), _load(classes=5)
    assert (three.num_classes, five.num_classes) == (3, 5)
    assert set(three.classes) < set(five.classes)
    assert [c for c in embedded.classes if c in five.classes] == list(five.classes)
    assert three.classes == _load(classes=3).classes
    assert len({_load(classes=3, subset_seed=seed).classes for seed in range(4)}) > 1
    assert three.train.labels.bincount().tolist() == [800] * 3
    assert three.val.labels.bincount().tolist() == [200] * 3


def test_named_classes_keep_their_images_and_get_labels_of_their_own(embedded: Dataset) -> None:
    data = _load(classes=("Bag", "Trouser"))
    assert data.classes == ("Trouser", "Bag")  # in the source's order
    for label, name in enumerate(data.classes):
        of_name = embedded.val.labels == embedded.classes.index(name)
        assert torch.equal(data.val.images[data.val.labels == label], embedded.val.images[of_name])


def test_a_test_fold_is_the_same_images_whatever_classes_are_chosen() -> None:
    whole, some = _load(split="test"), _load(split="test", classes=("Bag", "Coat"))
    bags = whole.val.images[whole.val.labels == whole.classes.index("Bag")]
    assert torch.equal(some.val.images[some.val.labels == some.classes.index("Bag")], bags)


def test_images_per_class_are_nested_seeded_and_equally_many() -> None:
    few, more = _load(per_class=10), _load(per_class=40)
    assert few.train.labels.bincount().tolist() == [10] * 10
    assert _images(few) < _images(more)
    assert _images(few) == _images(_load(per_class=10))
    assert _images(few) != _images(_load(per_class=10, subset_seed=1))
    assert len(few.val) == 2000


def test_a_fraction_is_stratified_and_nested() -> None:
    few, more = _load(fraction=0.05), _load(fraction=0.1)
    assert few.train.labels.bincount().tolist() == [40] * 10
    assert _images(few) < _images(more)


def test_the_statistics_are_those_of_the_chosen_images(embedded: Dataset) -> None:
    data = _load(classes=("Trouser", "Sandal"))
    torch.testing.assert_close(data.mean, data.train.images.double().mean((0, 2, 3)).float())
    assert not torch.equal(data.mean, embedded.mean)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"classes": 11}, "proxy.dataset.classes=11, but fashion-mnist-10k has 10; use fewer"),
        (
            {"classes": ("Bag", "cow")},
            "proxy.dataset.classes: fashion-mnist-10k has no class 'cow'; it has T-shirt/top, ",
        ),
        (
            {"per_class": 801},
            "proxy.dataset.per_class=801, but a class of fashion-mnist-10k has 800 training images",
        ),
    ],
)
def test_a_choice_of_what_is_not_there_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError) as caught:
        _load(**values)
    assert str(caught.value).startswith(message)


def test_few_validation_images_are_noted(embedded: Dataset) -> None:
    assert embedded.notes == ()
    (note,) = _load(classes=5).notes
    assert note == (
        "1,000 validation images are few: their choice alone moves top1 by about 1.6 points (one "
        "standard error); use at least 2,000"
    )
