"""Moving, mirroring and cropping a whole batch, on the device that holds it."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

_RATIO = 4 / 3  # largest width over height, and height over width, of a random crop


def shifted(images: Tensor, draws: Tensor, *, margin: int, flip: bool) -> Tensor:
    """Each image moved by up to `margin` pixels, and half of them mirrored, in one gathering.

    Shape: images (B, C, S, S), draws (2 or 3, B) in 0..1 to (B, C, S, S), channels last in memory.
    """
    count, channels, side, _ = images.shape
    grid = torch.arange(side, device=images.device)
    rows = cols = grid.expand(count, side)
    if margin:
        images = F.pad(images, (margin,) * 4)
        top, left = (draws[:2] * (2 * margin + 1)).long()[:, :, None]  # (B, 1) each
        rows, cols = rows + top, cols + left
    if flip:
        mirrored = (draws[-1] < 0.5)[:, None]
        cols = torch.where(mirrored, cols.flip(1), cols)
    places = (rows[:, :, None] * images.shape[-1] + cols[:, None, :]).flatten(1)
    crops = images.flatten(2).gather(2, places[:, None].expand(-1, channels, -1))
    crops = crops.view(count, channels, side, side)
    return crops.contiguous(memory_format=torch.channels_last)


def random_windows(draws: Tensor, *, areas: tuple[float, float]) -> tuple[Tensor, ...]:
    """Top, left, height and width, as parts of the side, of boxes with an area in `areas`.

    A box that would not fit for its ratio gets the nearest ratio that fits.

    Shape: draws (4, B) in 0..1 to (B,) four times.
    """
    area = areas[0] + (areas[1] - areas[0]) * draws[0]
    ratio = torch.exp((2 * draws[1] - 1) * math.log(_RATIO))  # width / height
    ratio = torch.minimum(torch.maximum(ratio, area), 1 / area)
    height, width = (area / ratio).sqrt(), (area * ratio).sqrt()
    return draws[2] * (1 - height), draws[3] * (1 - width), height, width


def resampled(
    images: Tensor, windows: tuple[Tensor, ...], *, side: int, mirrored: Tensor | None
) -> Tensor:
    """A box of each image at `side` pixels, bilinear and antialiased.

    Bilinear filters are separable: one matrix per image for the rows and one for the columns, so
    boxes of every size are two batched products. A whole image comes out as `F.interpolate`
    with `antialias` would give it.

    Shape: images (B, C, S, S) float, windows (B,) four times, mirrored (B,) bool to
    (B, C, side, side).
    """
    top, left, height, width = windows
    rows = _filters(top, height, source=images.shape[-1], side=side)
    cols = _filters(left, width, source=images.shape[-1], side=side)
    if mirrored is not None:
        cols = torch.where(mirrored[:, None, None], cols.flip(1), cols)
    return rows[:, None] @ images @ cols[:, None].transpose(-1, -2)


def _filters(start: Tensor, extent: Tensor, *, source: int, side: int) -> Tensor:
    """Weight of each source pixel in each pixel of a box.

    Shape: (B,), (B,) to (B, side, source).
    """
    device = start.device
    scale = extent * source / side  # source pixels per pixel, (B,)
    reach = scale.clamp(min=1.0)[:, None, None]  # of the triangle, to each side
    pixels = torch.arange(side, device=device) + 0.5
    centres = (start * source)[:, None] + scale[:, None] * pixels  # (B, side)
    distance = (torch.arange(source, device=device) + 0.5) - centres[:, :, None]
    weights = (1 - distance.abs() / reach).clamp(min=0.0)
    return weights / weights.sum(2, keepdim=True)
