"""Flips, shifts, crops and sizes of training images, and what holds for every variation."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from cmt_search.proxy.augment import Augmenter
from cmt_search.proxy.data import Dataset
from cmt_search.recipe import Augment

SIDE, MARGIN = 10, 2
OFF = Augment(flip=False, translate=0.0)
EACH = {
    "nothing": OFF,
    "flip": replace(OFF, flip=True),
    "translate": replace(OFF, translate=0.2),
    "resized_crop": replace(OFF, resized_crop=(0.3, 1.0)),
    "color_jitter": replace(OFF, color_jitter=0.5),
    "random_erasing": replace(OFF, random_erasing=0.5),
    "mixup": replace(OFF, mixup=0.4),
    "cutmix": replace(OFF, cutmix=1.0),
    "rand_augment": replace(OFF, rand_augment=2),
    "all": Augment(
        resized_crop=(0.3, 1.0),
        color_jitter=0.5,
        random_erasing=0.5,
        mixup=0.4,
        cutmix=1.0,
        rand_augment=2,
    ),
}


def _windows(count: int = 64) -> Tensor:
    """Every pixel inside a margin of zeros has a value of its own: 11 a row and 1 a column."""
    rows, cols = torch.arange(SIDE)[:, None] * 11, torch.arange(SIDE)
    images = torch.stack([rows + cols + 1, rows + cols + 120])
    return images.to(torch.uint8).expand(count, 2, SIDE, SIDE).contiguous()


def _photos(count: int = 32, *, side: int = 16, channels: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(9)
    rough = torch.rand((count, channels, 4, 4), generator=generator) * 255
    smooth = F.interpolate(rough, size=(side, side), mode="bilinear")
    return smooth.round().to(torch.uint8)


def _vary(spec: Augment, images: Tensor, *, seed: int = 0, side: int | None = None) -> Tensor:
    return _both(spec, images, seed=seed, side=side)[0]


def _both(
    spec: Augment, images: Tensor, *, seed: int = 0, side: int | None = None
) -> tuple[Tensor, Tensor]:
    augmenter = Augmenter(spec=spec, side=side or images.shape[-1], num_classes=10)
    generator = torch.Generator().manual_seed(seed)
    return augmenter(images, torch.arange(len(images)) % 10, generator=generator)


def test_nothing_switched_on_changes_nothing_and_draws_nothing() -> None:
    images, generator = _photos(), torch.Generator().manual_seed(0)
    augmenter = Augmenter(spec=OFF, side=16, num_classes=10)
    labels = torch.arange(32) % 10
    before = generator.get_state()
    out, targets = augmenter(images, labels, generator=generator)
    assert torch.equal(out, images)
    assert torch.equal(targets, labels)
    assert torch.equal(generator.get_state(), before)


@pytest.mark.parametrize("name", EACH)
@pytest.mark.parametrize("channels", [1, 3])
def test_every_variation_keeps_shape_range_and_layout(name: str, channels: int) -> None:
    spec = EACH[name]
    out, targets = _both(spec, _photos(channels=channels))
    assert out.shape == (32, channels, 16, 16)
    assert out.is_contiguous(memory_format=torch.channels_last)
    only_moved = name in ("nothing", "flip", "translate")
    assert out.dtype == (torch.uint8 if only_moved else torch.float32)
    assert bool(out.float().isfinite().all())
    assert -1e-3 <= float(out.min()) <= float(out.max()) <= 255 + 1e-3
    assert targets.dtype == (torch.float32 if spec.mixes else torch.int64)


@pytest.mark.parametrize("name", [name for name in EACH if name != "nothing"])
def test_the_same_seed_gives_the_same_images_bit_for_bit_and_another_does_not(name: str) -> None:
    images = _photos()
    first, again = _both(EACH[name], images, seed=3), _both(EACH[name], images, seed=3)
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert not torch.equal(first[0], _vary(EACH[name], images, seed=4))


@pytest.mark.parametrize("name", EACH)
def test_the_draws_do_not_depend_on_the_resolution(name: str) -> None:
    states = []
    for side in (8, 16):
        generator = torch.Generator().manual_seed(0)
        augmenter = Augmenter(spec=EACH[name], side=side, num_classes=10)
        augmenter(_photos(side=side), torch.arange(32) % 10, generator=generator)
        states.append(generator.get_state())
    assert torch.equal(*states)


@pytest.mark.parametrize("name", ["translate", "resized_crop", "random_erasing", "cutmix"])
def test_images_are_varied_alike_at_every_resolution(name: str) -> None:
    # A picture of twice the side, varied and then halved, is nearly the small picture varied. At
    # another seed it is not.
    large, small = _photos(side=64), _photos(side=64)
    small = F.avg_pool2d(small.float(), 2).round().to(torch.uint8)

    def apart(seed: int) -> float:
        varied = F.avg_pool2d(_vary(EACH[name], large, seed=seed).float(), 2)
        return float((varied - _vary(EACH[name], small).float()).abs().mean())

    assert apart(0) < 0.35 * apart(1)


def test_every_shifted_image_is_a_window_of_its_own_or_the_mirror_of_one() -> None:
    out = _vary(Augment(translate=0.2), _windows(400))
    inner = out[:, :, MARGIN:-MARGIN, MARGIN:-MARGIN].int()  # never reached by the zeros
    assert bool((inner[:, 0].diff(dim=1) == 11).all())
    steps = inner[:, 0].diff(dim=2)
    assert set(steps.unique().tolist()) == {-1, 1}
    assert bool((steps == steps[:, :1, :1]).all())  # an image is mirrored as a whole
    assert bool((inner[:, 1] - inner[:, 0] == 119).all())
    assert 150 < int((steps[:, 0, 0] == -1).sum()) < 250


def test_without_flip_no_image_is_mirrored() -> None:
    out = _vary(replace(OFF, translate=0.2), _windows(400))[:, 0, MARGIN:-MARGIN, MARGIN:-MARGIN]
    assert bool((out.int().diff(dim=2) == 1).all())


def test_each_image_has_a_shift_of_its_own_and_every_shift_occurs() -> None:
    centres = _vary(replace(OFF, translate=0.2), _windows(200))[:, 0, 5, 5].int() - 1
    shifts = {(value // 11 - 5, value % 11 - 5) for value in centres.tolist()}
    assert shifts == {(row, col) for row in range(-2, 3) for col in range(-2, 3)}


def test_what_comes_into_view_is_black() -> None:
    out = _vary(replace(OFF, translate=0.2), _windows(200))[:, 0]
    moved_down = out[:, MARGIN:, :].amin((1, 2)) == 0
    assert 0 < int(moved_down.sum()) < 200
    assert int((out == 0).sum((1, 2)).amax()) == SIDE**2 - 8**2


def test_a_crop_of_the_whole_image_is_antialiased_resizing(embedded: Dataset) -> None:
    images = embedded.val.images[:20]
    square = replace(OFF, resized_crop=(1.0, 1.0))
    expected = F.interpolate(images.float(), size=(12, 12), mode="bilinear", antialias=True)
    torch.testing.assert_close(_vary(square, images, side=12), expected, atol=1e-3, rtol=0)
    rounded = expected.round().clamp(0, 255).to(torch.uint8)
    assert torch.equal(_vary(OFF, images, side=12), rounded)


def test_crops_have_the_area_and_the_ratio_asked_for() -> None:
    # Pixels that know their place: the edges of a crop can be read off its slopes.
    places = 2 * torch.arange(100, dtype=torch.uint8)
    picture = torch.stack([places.expand(100, 100), places[:, None].expand(100, 100)])
    images = picture.expand(500, 2, 100, 100)
    out = _vary(replace(OFF, resized_crop=(0.25, 0.5)), images, side=25)
    width = (out[:, 0, 0, 20] - out[:, 0, 0, 5]) * 25 / 15 / 200
    height = (out[:, 1, 20, 0] - out[:, 1, 5, 0]) * 25 / 15 / 200
    area, ratio = width * height, width / height
    assert 0.24 < float(area.min()) < 0.27
    assert 0.48 < float(area.max()) < 0.51
    assert 0.73 < float(ratio.min()) < 0.8
    assert 1.27 < float(ratio.max()) < 1.36
    left = out[:, 0, 0, 0]
    assert float(left.min()) < 8
    assert float(left.max()) > 80
    assert float(out.min()) >= 0
    assert float(out.max()) <= 200


def test_a_crop_does_not_leave_the_image_whatever_its_ratio() -> None:
    white = torch.full((300, 1, 32, 32), 255, dtype=torch.uint8)
    out = _vary(replace(OFF, resized_crop=(0.9, 1.0)), white, side=24)
    torch.testing.assert_close(out, torch.full_like(out, 255), atol=1e-2, rtol=0)


def test_crops_are_mirrored_half_of_the_time() -> None:
    ramp = torch.arange(32, dtype=torch.uint8).expand(400, 1, 32, 32)
    out = _vary(Augment(resized_crop=(0.5, 1.0)), ramp)
    falling = out[:, 0, 0, 0] > out[:, 0, 0, -1]
    assert 150 < int(falling.sum()) < 250


@pytest.mark.parametrize("name", EACH)
def test_no_variation_reads_values_back_to_the_host(name: str) -> None:
    # Tensors of the meta device have shapes and no values: reading one is an error.
    images = torch.empty((32, 3, 16, 16), dtype=torch.uint8, device="meta")
    labels = torch.empty(32, dtype=torch.int64, device="meta")
    augmenter = Augmenter(spec=EACH[name], side=12, num_classes=10)
    out, targets = augmenter(images, labels, generator=None)
    assert out.shape == (32, 3, 12, 12)
    assert targets.shape == ((32, 10) if EACH[name].mixes else (32,))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("name", EACH)
def test_a_cuda_graph_varies_images_as_plain_calls_do(name: str) -> None:
    images, labels = _photos().cuda(), (torch.arange(32) % 10).cuda()
    augmenter = Augmenter(spec=EACH[name], side=12, num_classes=10)
    generator = torch.Generator("cuda").manual_seed(1)
    expected = [augmenter(images, labels, generator=generator) for _ in range(3)][1:]
    generator.manual_seed(1)
    augmenter(images, labels, generator=generator)
    graph = torch.cuda.CUDAGraph()
    graph.register_generator_state(generator)
    with torch.cuda.graph(graph):
        out, targets = augmenter(images, labels, generator=generator)
    for varied, said in expected:
        graph.replay()
        torch.testing.assert_close(out, varied)
        torch.testing.assert_close(targets, said)
