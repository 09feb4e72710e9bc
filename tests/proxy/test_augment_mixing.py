"""Erasing, mixup and cutmix: what is covered, blended and said of it."""

from dataclasses import replace

import pytest
import torch
from scipy import stats
from torch import Tensor

from cmt_search.proxy.augment import Augmenter, beta
from cmt_search.recipe import Augment

OFF = Augment(flip=False, translate=0.0)
CLASSES = 10


def _flat(count: int, *, side: int = 20) -> tuple[Tensor, Tensor]:
    """Images of one value each, which is ten times the label."""
    labels = torch.arange(count) % CLASSES
    images = (10 * labels)[:, None, None, None].to(torch.uint8).expand(count, 1, side, side)
    return images.contiguous(), labels


def _vary(spec: Augment, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    augmenter = Augmenter(spec=spec, side=images.shape[-1], num_classes=CLASSES)
    return augmenter(images, labels, generator=torch.Generator().manual_seed(0))


def test_erasing_covers_a_box_of_two_percent_to_a_third_in_the_asked_share_of_images() -> None:
    side = 50
    image = torch.zeros(side, side, dtype=torch.uint8)
    image[: side // 2] = 200  # no pixel has the mean, 100
    images = image.expand(1000, 1, side, side).contiguous()
    out, targets = _vary(replace(OFF, random_erasing=0.4), images, torch.zeros(1000).long())
    covered = (out[:, 0] == 100).float()
    area = covered.mean((1, 2))
    assert 340 < int((area > 0).sum()) < 460
    some = area[area > 0]
    assert 0.015 < float(some.min()) < 0.04
    assert 0.3 < float(some.max()) < 0.36
    assert bool((out[:, 0] == image)[covered == 0].all())
    height, width = covered.amax(2).sum(1), covered.amax(1).sum(1)
    assert torch.equal(height * width, covered.sum((1, 2)))  # it is a box
    assert torch.equal(targets, torch.zeros(1000).long())


@pytest.mark.parametrize(("probability", "erased"), [(0.0, 0), (1.0, 200)])
def test_no_image_or_every_image_is_erased(probability: float, erased: int) -> None:
    images = torch.arange(400, dtype=torch.int64).view(20, 20).remainder(7).to(torch.uint8)
    images = images.expand(200, 1, 20, 20).contiguous()
    out, _ = _vary(replace(OFF, random_erasing=probability), images, torch.zeros(200).long())
    assert int((out != images).flatten(1).any(1).sum()) == erased


@pytest.mark.parametrize(
    "spec",
    [replace(OFF, mixup=0.4), replace(OFF, cutmix=1.0), replace(OFF, mixup=0.4, cutmix=1.0)],
)
def test_targets_are_shares_of_what_is_really_seen(spec: Augment) -> None:
    images, labels = _flat(500)
    out, targets = _vary(spec, images, labels)
    assert targets.shape == (500, CLASSES)
    torch.testing.assert_close(targets.sum(1), torch.ones(500))
    # The mean value of an image is ten times its mean label.
    seen = out.mean((1, 2, 3)) / 10
    torch.testing.assert_close(targets @ torch.arange(10.0), seen, atol=1e-4, rtol=0)
    assert int((targets > 0).sum(1).max()) == 2
    assert len(targets.amax(1).unique()) > 50  # every image has a share of its own


def test_mixup_blends_whole_images_and_cutmix_pastes_boxes() -> None:
    images, labels = _flat(300)
    blended, _ = _vary(replace(OFF, mixup=1.0), images, labels)
    assert float((blended.amax((1, 2, 3)) - blended.amin((1, 2, 3))).max()) < 1e-4
    pasted, _ = _vary(replace(OFF, cutmix=1.0), images, labels)
    assert bool((pasted % 10 == 0).all())  # each pixel is of one image or the other
    own = pasted[:, 0] == images[:, 0]
    other = pasted[:, 0] == images.roll(1, 0)[:, 0]
    assert bool((own ^ other).all())
    height, width = other.any(2).sum(1), other.any(1).sum(1)
    assert torch.equal(height * width, other.sum((1, 2)))


def test_with_both_each_image_takes_one_of_them() -> None:
    images, labels = _flat(600)
    out, _ = _vary(replace(OFF, mixup=1.0, cutmix=1.0), images, labels)
    even = (out.amax((1, 2, 3)) - out.amin((1, 2, 3))) < 1e-4
    assert 250 < int(even.sum()) < 400  # blended; or a pasted box of nothing, or of all


def test_what_cutmix_keeps_follows_its_distribution() -> None:
    images, labels = _flat(4000, side=40)
    _, targets = _vary(replace(OFF, cutmix=1.0), images, labels)
    kept = targets[torch.arange(4000), labels]
    # A box is cut off at the border, so more is kept than the half that Beta(1, 1) gives.
    assert 0.55 < float(kept.mean()) < 0.75
    assert float(kept.min()) < 0.1
    assert float(kept.max()) > 0.97


@pytest.mark.parametrize("alpha", [0.05, 0.2, 0.8, 1.0, 2.5])
def test_shares_follow_the_beta_distribution(alpha: float) -> None:
    draws = torch.rand(20_000, generator=torch.Generator().manual_seed(1))
    shares = beta(draws, alpha=alpha)
    assert float(shares.min()) >= 0
    assert float(shares.max()) <= 1
    # The same draws through scipy's quantiles.
    expected = torch.from_numpy(stats.beta.ppf(draws.double().numpy(), alpha, alpha))
    torch.testing.assert_close(shares.double(), expected, atol=2e-4, rtol=0)
