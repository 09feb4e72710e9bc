"""The data set that the package ships, and its two validation folds."""

import hashlib

import pytest
import torch

from cmt_search.proxy import Dataset, DatasetSpec, load_dataset


def _digests(images: torch.Tensor) -> set[bytes]:
    return {image.numpy().tobytes() for image in images}


@pytest.fixture(scope="module")
def held_out() -> Dataset:
    return load_dataset(DatasetSpec(split="test"))


def test_the_embedded_images_are_fashion_mnist_in_shape_and_type(embedded: Dataset) -> None:
    assert embedded.train.images.shape == (8000, 1, 28, 28)
    assert embedded.val.images.shape == (2000, 1, 28, 28)
    assert embedded.train.images.dtype == embedded.val.images.dtype == torch.uint8
    assert (embedded.in_chans, embedded.num_classes, embedded.resolution) == (1, 10, 28)
    assert embedded.classes[0] == "T-shirt/top"


@pytest.mark.parametrize("split", ["validation", "test"])
def test_each_split_holds_every_class_equally_often(split: str) -> None:
    data = load_dataset(DatasetSpec(split=split))
    assert data.train.labels.bincount().tolist() == [800] * 10
    assert data.val.labels.bincount().tolist() == [200] * 10


@pytest.mark.parametrize(
    ("split", "start"), [("validation", "4ad05fd18339d14c"), ("test", "f3616e8bc16e1a35")]
)
def test_the_validation_images_never_change(split: str, start: str) -> None:
    val = load_dataset(DatasetSpec(split=split)).val
    seen = hashlib.sha256(val.images.numpy().tobytes() + val.labels.numpy().tobytes())
    assert seen.hexdigest().startswith(start)


def test_training_and_validation_images_are_disjoint(embedded: Dataset, held_out: Dataset) -> None:
    for data in (embedded, held_out):
        assert not _digests(data.train.images) & _digests(data.val.images)


def test_no_search_validates_on_an_image_of_the_test_split(
    embedded: Dataset, held_out: Dataset
) -> None:
    assert not _digests(embedded.val.images) & _digests(held_out.val.images)
    assert _digests(held_out.val.images) <= _digests(embedded.train.images)


def test_the_statistics_are_those_of_the_training_images(embedded: Dataset) -> None:
    pixels = embedded.train.images.double()
    torch.testing.assert_close(embedded.mean, pixels.mean((0, 2, 3)).float())
    torch.testing.assert_close(embedded.std, pixels.std((0, 2, 3), correction=0).float())
