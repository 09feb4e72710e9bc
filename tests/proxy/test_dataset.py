"""Resizing and subsets."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from cmt_search.errors import DataError
from cmt_search.proxy import Dataset, ImageSet
from cmt_search.proxy.cache import SetCache, SetWriter


def test_resizing_averages_every_pixel_under_a_new_one(embedded: Dataset) -> None:
    # Without antialiasing, bilinear interpolation to a quarter reads 4 of 16 pixels, and a
    # one-pixel checkerboard keeps some of its contrast.
    board = torch.arange(28)[:, None].add(torch.arange(28)).remainder(2).mul(255).to(torch.uint8)
    striped = torch.where(torch.arange(28) % 4 == 0, 255, 0).to(torch.uint8).expand(28, 28)
    images = torch.stack([board, striped])[:, None]
    data = _with_val(embedded, images).resized(7)
    inner = data.val.images[:, 0, 1:-1, 1:-1]
    assert (inner[0].int() - 128).abs().max() <= 2
    assert (inner[1].int() - 64).abs().max() <= 2


@pytest.mark.parametrize("side", [1, 13, 28, 41])
def test_resized_images_have_the_side_asked_for(embedded: Dataset, side: int) -> None:
    data = embedded.resized(side)
    assert data.resolution == side
    assert data.train.images.shape == (8000, 1, side, side)
    assert data.train.images.dtype == torch.uint8
    assert torch.equal(data.val.labels, embedded.val.labels)


def test_resizing_keeps_the_brightness(embedded: Dataset) -> None:
    before = embedded.val.images.double().mean()
    after = embedded.resized(14).val.images.double().mean()
    assert abs(before - after) < 0.5


def test_resizing_to_the_same_side_changes_nothing(embedded: Dataset) -> None:
    assert embedded.resized(28) is embedded


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
    with pytest.raises(DataError, match=r"data_fraction=.* is no part .*; use 0 < f <= 1"):
        embedded.subset(fraction)


def _with_val(data: Dataset, images: torch.Tensor) -> Dataset:

    return replace(data, val=ImageSet(images=images, labels=torch.zeros(len(images)).long()))


def test_stored_images_are_subset_and_resized_like_those_in_memory(
    embedded: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CMT_SEARCH_CACHE", str(tmp_path))

    def build(writer: SetWriter) -> tuple[str, ...]:
        writer.add(embedded.train.images, embedded.train.labels)
        return embedded.classes

    stored = ImageSet.of_stored(SetCache.default().load("key", build), key="key")
    mapped = replace(embedded, train=stored).subset(0.5).subset(0.5)
    plain = embedded.subset(0.5).subset(0.5)
    assert mapped.train.mapped
    assert torch.equal(mapped.train.images, plain.train.images)
    assert torch.equal(mapped.train.labels, plain.train.labels)
    for one, other in zip(mapped.train.statistics(), plain.train.statistics(), strict=True):
        assert torch.equal(one, other)
    small = mapped.resized(7)
    assert torch.equal(small.train.images, plain.resized(7).train.images)
    other_half = replace(mapped, train=stored.keep(stored.ranks() >= 0.5)).resized(7)
    assert not torch.equal(other_half.train.images[:100], small.train.images[:100])
