"""Augment batches of images on their device."""

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from cmt_search.proxy.data import resize
from cmt_search.proxy.rand_augment import color_jitter, rand_augment
from cmt_search.recipe import Augment

_RATIO = 4 / 3  # largest width over height, and height over width, of a random crop


def translate(images: Tensor, draws: Tensor, *, margin: int, flip: bool) -> Tensor:
    """Shift each image by up to `margin` pixels, and mirror half of them, in one gather.

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
    pixels = (rows[:, :, None] * images.shape[-1] + cols[:, None, :]).flatten(1)
    crops = images.flatten(2).gather(2, pixels[:, None].expand(-1, channels, -1))
    crops = crops.view(count, channels, side, side)
    return crops.contiguous(memory_format=torch.channels_last)


def random_windows(draws: Tensor, *, areas: tuple[float, float]) -> tuple[Tensor, ...]:
    """Draw top, left, height and width, as fractions of the side, of boxes with an area in `areas`.

    A ratio at which the box would not fit becomes the nearest one that fits.

    Shape: draws (4, B) in 0..1 to (B,) four times.
    """
    area = areas[0] + (areas[1] - areas[0]) * draws[0]
    ratio = torch.exp((2 * draws[1] - 1) * math.log(_RATIO))  # width / height
    ratio = torch.minimum(torch.maximum(ratio, area), 1 / area)
    height, width = (area / ratio).sqrt(), (area * ratio).sqrt()
    return draws[2] * (1 - height), draws[3] * (1 - width), height, width


def resized_crop(
    images: Tensor, windows: tuple[Tensor, ...], *, side: int, mirrored: Tensor | None
) -> Tensor:
    """Resize a box of each image to `side` pixels, bilinear and antialiased.

    Bilinear filters are separable: one matrix per image for the rows and one for the columns, so
    boxes of all sizes take two batched products. For a whole image the result is that of
    `F.interpolate` with `antialias`.

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
    """Compute the weight of each source pixel in each pixel of a box.

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


_ERASED = (0.02, 1 / 3)  # least and largest area, as in the paper
_ERASED_RATIO = 3.0  # largest height over width; a third of the image just fits then
_QUANTILES = 2049


def random_erase(images: Tensor, draws: Tensor, *, probability: float) -> Tensor:
    """Fill a box of some images with their mean colour.

    Source: random erasing, arXiv:1708.04896, which fills with noise.
    Shape: images (B, C, S, S) float, draws (5, B) in 0..1.
    """
    side = images.shape[-1]
    area = _ERASED[0] + (_ERASED[1] - _ERASED[0]) * draws[1]
    ratio = torch.exp((2 * draws[2] - 1) * math.log(_ERASED_RATIO))
    height = ((area * ratio).sqrt() * side).round()
    width = ((area / ratio).sqrt() * side).round()
    top = (draws[3] * (side - height + 1)).floor()
    left = (draws[4] * (side - width + 1)).floor()
    box = _box(top, left, top + height, left + width, side=side)
    box = box & (draws[0] < probability)[:, None, None]
    return torch.where(box[:, None], images.mean((2, 3), keepdim=True), images)


def soft_targets(labels: Tensor, *, share: Tensor, num_classes: int) -> Tensor:
    """Compute class shares. Shape: (B,) int64, (B,) to (B, num_classes) float32."""
    classes = torch.arange(num_classes, device=labels.device)
    one_hot = (labels[:, None] == classes).float()  # F.one_hot reads values on the host
    return torch.lerp(one_hot.roll(1, 0), one_hot, share[:, None])


@cache
def _beta_table(alpha: float, device: torch.device) -> Tensor:
    """Tabulate the quantiles of Beta(alpha, alpha) below one half, at even steps.

    The integral is taken over s = x^alpha, in which the density is finite and nearly constant
    near 0.

    Shape: (2049,) float32, in s.
    """
    x = torch.linspace(0, 0.5, 65_537, dtype=torch.float64)
    s, density = x**alpha, (1 - x) ** (alpha - 1)
    total = torch.cumulative_trapezoid(density, s)
    total = torch.cat([torch.zeros(1, dtype=torch.float64), total]) / total[-1]
    table = np.interp(np.linspace(0, 1, _QUANTILES), total, s)
    return torch.from_numpy(table).float().to(device)


def beta(draws: Tensor, *, alpha: float) -> Tensor:
    """Transform uniform draws to Beta(alpha, alpha). Shape: (B,) in 0..1 to (B,) in 0..1.

    torch samples this distribution by rejection, and not from a given generator.
    """
    table = _beta_table(alpha, draws.device)
    position = torch.minimum(draws, 1 - draws) * (2 * (_QUANTILES - 1))
    below = position.long().clamp(max=_QUANTILES - 2)
    half = torch.lerp(table[below], table[below + 1], position - below) ** (1 / alpha)
    return torch.where(draws < 0.5, half, 1 - half)


def _outside_box(draws: Tensor, *, side: int) -> tuple[Tensor, Tensor]:
    """Mask the pixels outside a box, drawn as the area outside and the centre of the box.

    The second result is the exact share of the pixels outside.

    Shape: (3, B) in 0..1 to (B, S, S) float, (B,).
    """
    half = (1 - draws[0]).sqrt() * (side / 2)
    top, left = ((draws[1:] * side - half).round()).clamp(0, side)
    bottom, right = ((draws[1:] * side + half).round()).clamp(0, side)
    mask = (~_box(top, left, bottom, right, side=side)).float()
    return mask, 1 - (bottom - top) * (right - left) / side**2


def _box(top: Tensor, left: Tensor, bottom: Tensor, right: Tensor, *, side: int) -> Tensor:
    """Return the mask of the pixels in boxes. Shape: (B,) four times to (B, S, S) bool."""
    grid = torch.arange(side, device=top.device)
    rows = (grid >= top[:, None]) & (grid < bottom[:, None])
    cols = (grid >= left[:, None]) & (grid < right[:, None])
    return rows[:, :, None] & cols[:, None, :]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Augmenter:
    """Turns stored images into training images and targets.

    Each image has its own draws, which do not depend on sizes: with the same generator, an image
    moves by the same fraction of its side at every resolution. Only enabled augmentations draw.
    Shapes are fixed and no value is read back to the host, so a CUDA graph can record a call, once
    an earlier call has put the tables on the device.
    """

    spec: Augment
    side: int  # of the results, pixels
    num_classes: int

    @torch.no_grad()
    def __call__(
        self, images: Tensor, labels: Tensor, *, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:
        """Augment images and compute their targets.

        Images that are only resized, shifted and mirrored stay uint8; others become float32 in
        0..255. The targets are the labels, or class shares where images are mixed.

        Shape: images (B, C, S, S) uint8, labels (B,) int64 to (B, C, side, side), channels last in
        memory, and (B,) int64 or (B, num_classes) float32.
        """
        images = self._transform_geometry(images, generator)
        images = self._transform_colors(images, generator)
        targets = labels
        if self.spec.mixes:
            images, share = self._mix(images, generator)
            targets = soft_targets(labels, share=share, num_classes=self.num_classes)
        return images.contiguous(memory_format=torch.channels_last), targets

    def _transform_geometry(self, images: Tensor, generator: torch.Generator | None) -> Tensor:
        """Crop or resize, shift and mirror."""
        spec = self.spec
        if spec.resized_crop is not None:
            draws = _draws(images, 4 + spec.flip, generator)
            windows = random_windows(draws[:4], areas=spec.resized_crop)
            mirrored = draws[4] < 0.5 if spec.flip else None
            return resized_crop(images.float(), windows, side=self.side, mirrored=mirrored)
        images = resize(images, self.side)
        # Even where the shift rounds to no pixel: draws do not depend on sizes.
        shifts = 2 * (spec.translate > 0)
        if not shifts and not spec.flip:
            return images
        draws = _draws(images, shifts + spec.flip, generator)
        margin = round(spec.translate * self.side)
        return translate(images, draws, margin=margin, flip=spec.flip)

    def _transform_colors(self, images: Tensor, generator: torch.Generator | None) -> Tensor:
        spec = self.spec
        if spec.rand_augment:
            draws = _draws(images, 2 * spec.rand_augment, generator).unflatten(0, (-1, 2))
            images = rand_augment(images.float(), draws, magnitude=spec.rand_magnitude)
        if spec.color_jitter:
            draws = _draws(images, 3, generator)
            images = color_jitter(images.float(), draws, strength=spec.color_jitter)
        if spec.random_erasing:
            draws = _draws(images, 5, generator)
            images = random_erase(images.float(), draws, probability=spec.random_erasing)
        return images

    def _mix(self, images: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        """Blend each image with its neighbour in the batch, or paste a box of the neighbour.

        Source: mixup, arXiv:1710.09412; cutmix, arXiv:1905.04899.
        Shape: (B, C, S, S) to (B, C, S, S) float and the share kept of each image, (B,).
        """
        spec, images = self.spec, images.float()
        if spec.mixup:
            share = beta(_draws(images, 1, generator)[0], alpha=spec.mixup)
            keep = share[:, None, None]
        if spec.cutmix:
            draws = _draws(images, 3, generator)
            draws[0] = beta(draws[0], alpha=spec.cutmix)
            outside, area = _outside_box(draws, side=images.shape[-1])
            if spec.mixup:
                blends = _draws(images, 1, generator)[0] < 0.5
                keep = torch.where(blends[:, None, None], keep, outside)
                share = torch.where(blends, share, area)
            else:
                keep, share = outside, area
        return torch.lerp(images.roll(1, 0), images, keep[:, None]), share


def _draws(images: Tensor, count: int, generator: torch.Generator | None) -> Tensor:
    return torch.rand((count, len(images)), generator=generator, device=images.device)
