"""Resizing, subsets, and the selection of classes and images."""

from typing import Any

import pytest
import torch

from cmt_search.errors import DataError
from cmt_search.proxy import Dataset, DatasetSpec, ImageSet, load_dataset
from cmt_search.proxy.data import resize


def test_resizing_averages_every_pixel_under_a_new_one() -> None:
    # Without antialiasing, bilinear interpolation to a quarter reads 4 of 16 pixels, and a
    # one-pixel checkerboard keeps some of its contrast.
    board = torch.arange(28)[:, None].add(torch.arange(28)).remainder(2).mul(255).to(torch.uint8)
    striped = torch.where(torch.arange(28) % 4 == 0, 255, 0).to(torch.uint8).expand(28, 28)
    images = torch.stack([board, striped])[:, None]
    inner = resize(images, 7)[:, 0, 1:-1, 1:-1]
    assert (inner[0].int() - 128).abs().max() <= 2
    assert (inner[1].int() - 64).abs().max() <= 2


@pytest.mark.parametrize("side", [1, 13, 28, 41])
def test_resized_images_have_the_side_asked_for(embedded: Dataset, side: int) -> None:
    images = embedded.val.images[:20]
    resized = resize(images, side)
    assert resized.shape == (20, 1, side, side)
    assert resized.dtype == torch.uint8


def test_resizing_keeps_the_brightness(embedded: Dataset) -> None:
    before = embedded.val.images.double().mean()
    assert abs(before - resize(embedded.val.images, 14).double().mean()) < 0.5


def test_resizing_to_the_same_side_changes_nothing(embedded: Dataset) -> None:
    images = embedded.val.images
    assert resize(images, 28) is images


def test_an_image_is_resized_alike_in_every_batch(embedded: Dataset) -> None:
    whole = resize(embedded.val.images, 14)
    assert torch.equal(resize(embedded.val.images[7:8], 14), whole[7:8])


def test_a_subset_is_stratified_fixed_and_nested(embedded: Dataset) -> None:
    small, large = embedded.subset(0.1), embedded.subset(0.25)
    assert small.train.labels.bincount().tolist() == [80] * 10
    assert torch.equal(small.train.images, embedded.subset(0.1).train.images)
    outer = {image.numpy().tobytes() for image in large.train.images}
    assert all(image.numpy().tobytes() in outer for image in small.train.images)
    assert small.val is embedded.val


def test_the_smallest_subset_still_shows_every_class(embedded: Dataset) -> None:
    assert embedded.subset(1e-6).train.labels.bincount().tolist() == [1] * 10


@pytest.mark.parametrize("fraction", [0.0, -1.0, 1.5, float("nan")])
def test_an_impossible_fraction_is_refused_with_the_range(
    embedded: Dataset, fraction: float
) -> None:
    with pytest.raises(DataError, match=r"data_fraction=.* is out of range; use 0 < fraction <= 1"):
        embedded.subset(fraction)


def test_a_subset_of_a_subset_refers_to_the_same_images(embedded: Dataset) -> None:
    whole = embedded.train
    half = whole.select(torch.arange(len(whole)) % 2 == 0)
    quarter = half.select(torch.arange(len(half)) % 2 == 0)
    assert quarter._images is whole._images
    assert torch.equal(quarter.images, whole.images[::4])
    assert torch.equal(quarter.labels, whole.labels[::4])
    images, labels = quarter.take(torch.tensor([5, 1]))
    assert torch.equal(images, whole.images[[20, 4]])
    assert torch.equal(labels, whole.labels[[20, 4]])
    copy = ImageSet(images=whole.images[::4].clone(), labels=quarter.labels)
    for one, other in zip(quarter.statistics(), copy.statistics(), strict=True):
        assert torch.equal(one, other)


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
