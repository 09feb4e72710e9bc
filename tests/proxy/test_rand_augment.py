"""Colours: jitter, and RandAugment's operations one by one against Pillow's."""

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps
from torch import Tensor
from torch.overrides import TorchFunctionMode

from cmt_search.proxy.rand_augment import Operation, color_jitter, gray, rand_augment

UP, DOWN = 0.75, 0.25  # draws of a direction


def _photos(count: int = 8, *, channels: int = 3, side: int = 24) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    rough = torch.rand((count, channels, 6, 6), generator=generator) * 200 + 20
    return torch.nn.functional.interpolate(rough, size=(side, side), mode="bilinear").round()


def _apply(
    images: Tensor, operation: Operation, *, direction: float = UP, magnitude: float = 5.0
) -> Tensor:
    drawn = torch.full((len(images),), (operation + 0.5) / len(Operation))
    draws = torch.stack([drawn, torch.full_like(drawn, direction)])[None]
    return rand_augment(images, draws, magnitude=magnitude)


def _pillow(images: Tensor, change: "object") -> Tensor:
    assert callable(change)
    out = []
    for image in images:
        array = image.permute(1, 2, 0).to(torch.uint8).numpy()
        changed = change(Image.fromarray(array))
        out.append(torch.from_numpy(np.array(changed)).permute(2, 0, 1))
    return torch.stack(out).float()


def test_a_jitter_of_nothing_is_the_identity() -> None:
    images = _photos()
    out = color_jitter(images, torch.rand(3, 8), strength=0.0)
    torch.testing.assert_close(out, images, atol=1e-4, rtol=0)


def test_jitter_changes_brightness_by_up_to_its_strength() -> None:
    images = torch.full((500, 1, 4, 4), 100.0)
    out = color_jitter(images, torch.rand((3, 500)), strength=0.4)[:, 0, 0, 0]
    assert 60 <= float(out.min()) < 64
    assert 136 < float(out.max()) <= 140


def test_jitter_changes_contrast_around_the_mean_of_each_image() -> None:
    images = _photos(channels=1)
    centred = images - images.mean((2, 3), keepdim=True)
    draws = torch.tensor([0.5, 1.0, 0.5])[:, None].expand(3, 8)
    out = color_jitter(images, draws, strength=0.1)
    torch.testing.assert_close(
        out - out.mean((2, 3), keepdim=True), 1.1 * centred, atol=0.5, rtol=0
    )


def test_jitter_changes_saturation_of_colours_only() -> None:
    draws = torch.tensor([0.5, 0.5, 0.0])[:, None].expand(3, 8)
    photos, grey = _photos(), _photos(channels=1)
    out = color_jitter(photos, draws, strength=1.0)
    torch.testing.assert_close(out, gray(photos).expand_as(photos), atol=1e-3, rtol=0)
    torch.testing.assert_close(color_jitter(grey, draws, strength=1.0), grey, atol=1e-3, rtol=0)


@pytest.mark.parametrize(
    ("operation", "change", "off"),
    [
        (Operation.IDENTITY, lambda image: image, 0),
        (Operation.BRIGHTNESS, lambda image: ImageEnhance.Brightness(image).enhance(1.45), 1),
        (Operation.CONTRAST, lambda image: ImageEnhance.Contrast(image).enhance(1.45), 1),
        (Operation.COLOR, lambda image: ImageEnhance.Color(image).enhance(1.45), 1),
        (Operation.POSTERIZE, lambda image: ImageOps.posterize(image, 6), 0),
        (Operation.SOLARIZE, lambda image: ImageOps.solarize(image, 128), 0),
        (Operation.AUTOCONTRAST, ImageOps.autocontrast, 1),
        (Operation.EQUALIZE, ImageOps.equalize, 0),
    ],
)
def test_operations_on_colours_agree_with_pillow(
    operation: Operation, change: object, off: int
) -> None:
    images = _photos()
    out = _apply(images, operation)
    assert float((out - _pillow(images, change)).abs().max()) <= off + 0.51
    if operation is not Operation.IDENTITY:
        assert float((out - images).abs().mean()) > 0.5


def test_sharpness_agrees_with_pillow_away_from_the_border() -> None:
    images = _photos()
    expected = _pillow(images, lambda image: ImageEnhance.Sharpness(image).enhance(0.55))
    out = _apply(images, Operation.SHARPNESS, direction=DOWN)
    assert float((out - expected)[:, :, 1:-1, 1:-1].abs().max()) <= 1.51
    assert float((out - images).abs().max()) > 1


def test_flat_images_have_nothing_to_stretch_or_to_equalise() -> None:
    flat = torch.full((2, 3, 8, 8), 77.0)
    assert torch.equal(_apply(flat, Operation.AUTOCONTRAST), flat)
    assert torch.equal(_apply(flat, Operation.EQUALIZE), flat)


@pytest.mark.parametrize(
    ("operation", "direction", "matrix"),
    [
        # Pillow's matrices lead from a pixel to its source, in pixels from the corner.
        (Operation.TRANSLATE_X, UP, (1, 0, 0.225 * 24, 0, 1, 0)),
        (Operation.TRANSLATE_Y, DOWN, (1, 0, 0, 0, 1, -0.225 * 24)),
        (Operation.SHEAR_X, UP, (1, 0.15, -0.15 * 12, 0, 1, 0)),
        (Operation.SHEAR_Y, UP, (1, 0, 0, 0.15, 1, -0.15 * 12)),
    ],
)
def test_movements_agree_with_pillow(
    operation: Operation, direction: float, matrix: tuple[float, ...]
) -> None:
    images = _photos()
    expected = _pillow(
        images,
        lambda image: image.transform(
            image.size, Image.Transform.AFFINE, matrix, resample=Image.Resampling.BILINEAR
        ),
    )
    out = _apply(images, operation, direction=direction)
    inner = (slice(None), slice(None), slice(7, -7), slice(7, -7))
    assert float((out - expected)[inner].abs().max()) <= 1.5
    assert float((out - images)[inner].abs().mean()) > 2


def test_rotation_turns_around_the_centre_one_way_or_the_other() -> None:
    images = _photos()
    for direction, degrees in ((UP, 15), (DOWN, -15)):
        expected = _pillow(
            images, lambda image, d=degrees: image.rotate(d, resample=Image.Resampling.BILINEAR)
        )
        out = _apply(images, Operation.ROTATE, direction=direction)
        assert float((out - expected)[:, :, 5:-5, 5:-5].abs().max()) <= 1.5


def test_every_operation_is_drawn_about_as_often() -> None:
    # What each operation alone makes of an image tells which one it had.
    photo = _photos(1, side=20)
    draws = torch.rand((1, 2, 700), generator=torch.Generator().manual_seed(0))
    out = rand_augment(photo.expand(700, -1, -1, -1), draws, magnitude=5.0)
    alone = {
        (operation, direction): _apply(photo, operation, direction=direction)
        for operation in Operation
        for direction in (UP, DOWN)
    }
    made = torch.stack([of[0] for of in alone.values()])
    same = (out[:, None] - made).abs().amax((2, 3, 4)) < 1e-3  # (700, 28): up and down each
    one = same.view(700, len(Operation), 2).any(2)
    assert bool((one.sum(1) == 1).all())
    assert 25 < int(one.sum(0).min()) <= int(one.sum(0).max()) < 80


def test_operations_follow_one_another() -> None:
    images = _photos()
    drawn = torch.tensor([Operation.SOLARIZE, Operation.TRANSLATE_X]) / len(Operation) + 0.01
    draws = torch.stack([drawn, torch.full((2,), UP)], dim=1)[:, :, None].expand(2, 2, 8)
    both = rand_augment(images, draws, magnitude=5.0)
    one_by_one = _apply(_apply(images, Operation.SOLARIZE), Operation.TRANSLATE_X)
    torch.testing.assert_close(both, one_by_one)


def test_images_of_one_channel_take_every_operation() -> None:
    images = _photos(channels=1)
    for operation in Operation:
        out = _apply(images, operation)
        same = torch.allclose(out, images, atol=1e-3)
        assert same == (operation in (Operation.IDENTITY, Operation.COLOR)), operation


def test_nothing_is_summed_up_that_a_deterministic_gpu_refuses() -> None:
    # torch.use_deterministic_algorithms: cumulative sums of floating-point numbers on CUDA.
    class Watch(TorchFunctionMode):
        def __torch_function__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            if func is Tensor.cumsum:
                summed.append(args[0].dtype)
            return func(*args, **(kwargs or {}))

    summed: list[torch.dtype] = []
    with Watch():
        _apply(_photos(), Operation.EQUALIZE)
    assert summed == [torch.int64]
