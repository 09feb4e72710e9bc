"""RandAugment and colour operations on a batch."""

import math
from enum import IntEnum

import torch
from torch import Tensor
from torch.nn import functional as F


def gray(images: Tensor) -> Tensor:
    """Compute the luma. Shape: (B, C, S, S) float to (B, 1, S, S)."""
    if images.shape[1] != 3:
        return images.mean(1, keepdim=True)
    red, green, blue = images.split(1, dim=1)
    total: Tensor = 0.299 * red + 0.587 * green + 0.114 * blue
    return total


def color_jitter(images: Tensor, draws: Tensor, *, strength: float) -> Tensor:
    """Scale brightness, contrast and saturation, each by 1 - strength to 1 + strength.

    The saturation of images of one channel is unchanged.

    Shape: images (B, C, S, S) float in 0..255, draws (3, B) in 0..1.
    """
    factors = 1 + strength * (2 * draws - 1)
    brightness, contrast, saturation = factors[:, :, None, None, None]
    images = (images * brightness).clamp(0, 255)
    images = torch.lerp(gray(images).mean((2, 3), keepdim=True), images, contrast).clamp(0, 255)
    if images.shape[1] == 3:
        images = torch.lerp(gray(images), images, saturation).clamp(0, 255)
    return images


# At magnitude 10; the shift is a fraction of the side.
_ROTATION, _SHEAR, _SHIFT = math.radians(30), 0.3, 0.45
_ENHANCE, _BITS = 0.9, 4  # likewise: change of a factor, bits lost


class Operation(IntEnum):
    """Operations, drawn with equal probability."""

    IDENTITY, ROTATE, SHEAR_X, SHEAR_Y, TRANSLATE_X, TRANSLATE_Y = range(6)
    BRIGHTNESS, CONTRAST, COLOR, SHARPNESS = range(6, 10)
    POSTERIZE, SOLARIZE, AUTOCONTRAST, EQUALIZE = range(10, 14)


def rand_augment(images: Tensor, draws: Tensor, *, magnitude: float) -> Tensor:
    """Apply n random operations to each image.

    Source: RandAugment, arXiv:1909.13719.

    Shape: images (B, C, S, S) float in 0..255, draws (n, 2, B) in 0..1: operation and direction.
    """
    transform = None
    for drawn, direction in draws:
        kind = (drawn * len(Operation)).long()
        signed = torch.where(direction < 0.5, -magnitude, magnitude) / 10
        images = _look_up(images, _tables(images, kind=kind, signed=signed))
        images = _blend(images, kind=kind, signed=signed)
        step = _affine(kind, signed=signed)
        transform = step if transform is None else step @ transform
    return images if transform is None else _warp(images, transform)


def _affine(kind: Tensor, *, signed: Tensor) -> Tensor:
    """Map output to input coordinates, -1 to 1 from side to side. Shape: (B, 3, 3)."""

    def amount(of: Operation, most: float) -> Tensor:
        return torch.where(kind == of, signed * most, torch.zeros_like(signed))

    turn = amount(Operation.ROTATE, _ROTATION)
    zero, one = torch.zeros_like(turn), torch.ones_like(turn)
    x = amount(Operation.TRANSLATE_X, 2 * _SHIFT)
    y = amount(Operation.TRANSLATE_Y, 2 * _SHIFT)
    rows = (
        (turn.cos(), amount(Operation.SHEAR_X, _SHEAR) - turn.sin(), x),
        (amount(Operation.SHEAR_Y, _SHEAR) + turn.sin(), turn.cos(), y),
        (zero, zero, one),
    )
    return torch.stack([torch.stack(row, dim=1) for row in rows], dim=1)


def _warp(images: Tensor, transform: Tensor) -> Tensor:
    grid = F.affine_grid(transform[:, :2], list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, align_corners=False)


def _look_up(images: Tensor, tables: Tensor) -> Tensor:
    values = images.round().clamp(0, 255).long()
    return tables.gather(2, values.flatten(2)).view_as(images)


def _tables(images: Tensor, *, kind: Tensor, signed: Tensor) -> Tensor:
    """Tabulate new grey values. Shape: (B, C, S, S), (B,), (B,) to (B, C, 256) float."""
    values = torch.arange(256, device=images.device, dtype=images.dtype).expand(
        len(images), images.shape[1], 256
    )
    kind, factor = kind[:, None, None], 1 + _ENHANCE * signed[:, None, None]
    strength = signed.abs()[:, None, None]
    mean = gray(images).mean((2, 3))[:, :, None]
    step = torch.exp2((strength * _BITS).round())
    new = {
        Operation.BRIGHTNESS: values * factor,
        Operation.CONTRAST: torch.lerp(mean.expand_as(values), values, factor),
        Operation.POSTERIZE: (values / step).floor() * step,
        Operation.SOLARIZE: torch.where(values < 256 * (1 - strength), values, 255 - values),
        Operation.AUTOCONTRAST: _autocontrast(images, values),
        Operation.EQUALIZE: _equalize(images, values),
    }
    tables = values
    for of, table in new.items():
        tables = torch.where(kind == of, table, tables)
    return tables.clamp(0, 255)


def _autocontrast(images: Tensor, values: Tensor) -> Tensor:
    """Stretch the range of each channel to 0..255; constant channels are unchanged."""
    low, high = images.amin((2, 3))[:, :, None], images.amax((2, 3))[:, :, None]
    return torch.where(high > low, (values - low) * 255 / (high - low).clamp(min=1e-6), values)


def _equalize(images: Tensor, values: Tensor) -> Tensor:
    """Equalise the histogram as Pillow does."""
    pixels = images.round().clamp(0, 255).long().flatten(2)
    # Whole numbers: on a GPU, the cumulative sum of others is not deterministic.
    counts = torch.zeros_like(values, dtype=torch.int64)
    counts = counts.scatter_add(2, pixels, torch.ones_like(pixels))
    lightest = counts.gather(2, pixels.amax(2, keepdim=True))
    step = ((pixels.shape[2] - lightest) / 255).floor()
    below = counts.cumsum(2) - counts
    table = ((below + (step / 2).floor()) / step.clamp(min=1)).floor()
    return torch.where(step > 0, table, values)


def _blend(images: Tensor, *, kind: Tensor, signed: Tensor) -> Tensor:
    """Change colour and sharpness: blend with a grey or a blurred copy, or extrapolate from it."""
    kind = kind[:, None, None, None]
    colors, sharpens = kind == Operation.COLOR, kind == Operation.SHARPNESS
    padded = F.pad(images, (1, 1, 1, 1), mode="replicate")
    rows = padded[:, :, :-2] + padded[:, :, 1:-1] + padded[:, :, 2:]
    around = rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]
    blurred = (around + 4 * images) / 13  # the pixel counts five times, each neighbour once
    dull = torch.where(colors, gray(images), blurred)
    factor = torch.where(colors | sharpens, 1 + _ENHANCE * signed[:, None, None, None], 1.0)
    return torch.lerp(dull, images, factor).clamp(0, 255)
