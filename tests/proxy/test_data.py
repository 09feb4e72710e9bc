"""Resizing and subsets."""

import pytest
import torch

from cmt_search.errors import DataError
from cmt_search.proxy import Dataset, ImageSet
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
