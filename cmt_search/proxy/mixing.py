"""Erasing, mixup and cutmix of a whole batch, on the device that holds it."""

import math

import torch
from torch import Tensor

_ERASED = (0.02, 1 / 3)  # least and largest area, as in the paper
_ERASED_RATIO = 3.0  # largest height over width; a third of the image just fits then
_QUANTILES = 2049


def erased(images: Tensor, draws: Tensor, *, probability: float) -> Tensor:
    """Some images with a box painted in their mean colour.

    Source: random erasing, arXiv:1708.04896, there with noise.
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


def mixed(
    images: Tensor, *, blend: Tensor | None, paste: Tensor | None, choice: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Each image blended with its neighbour in the batch, or with a box of it pasted in.

    `blend` is the share an image keeps in mixup; `paste` the one it keeps in cutmix, and the box's
    centre; where both are given, `choice` decides. The second result is the share really kept.

    Source: mixup, arXiv:1710.09412; cutmix, arXiv:1905.04899.
    Shape: images (B, C, S, S) float, blend (B,), paste (3, B), choice (B,) bool, all in 0..1, to
    (B, C, S, S) and (B,).
    """
    keep, share = None, None  # of each pixel, (B, S, S) or (B, 1, 1); of each image, (B,)
    if paste is not None:
        keep, share = _pasted(paste, side=images.shape[-1])
    if blend is not None:
        even = blend[:, None, None]
        keep = even if keep is None else torch.where(_column(choice), even, keep)
        share = blend if share is None else torch.where(_column(choice)[:, 0, 0], blend, share)
    assert keep is not None
    assert share is not None
    return torch.lerp(images.roll(1, 0), images, keep[:, None]), share


def soft_targets(labels: Tensor, *, share: Tensor, num_classes: int) -> Tensor:
    """Parts of each class in mixed images. Shape: (B,) int64, (B,) to (B, num_classes) float32."""
    classes = torch.arange(num_classes, device=labels.device)
    own = (labels[:, None] == classes).float()  # F.one_hot would look at the values on the host
    return torch.lerp(own.roll(1, 0), own, share[:, None])


def beta_table(alpha: float) -> Tensor:
    """Quantiles of Beta(alpha, alpha) below one half, at even steps, for `beta`.

    torch draws from a Beta distribution by rejection, and not from a generator of one's own. The
    integral is taken over s = x^alpha, in which the density is finite, and nearly even near 0.

    Shape: (2049,) float32, in s.
    """
    x = torch.linspace(0, 0.5, 65_537, dtype=torch.float64)
    s, density = x**alpha, (1 - x) ** (alpha - 1)
    total = torch.cumulative_trapezoid(density, s)
    total = torch.cat([torch.zeros(1, dtype=torch.float64), total]) / total[-1]
    wanted = torch.linspace(0, 1, _QUANTILES, dtype=torch.float64)
    upper = torch.searchsorted(total, wanted).clamp(1, len(total) - 1)
    low, high = total[upper - 1], total[upper]
    part = ((wanted - low) / (high - low).clamp(min=1e-300)).clamp(0, 1)
    return (s[upper - 1] + part * (s[upper] - s[upper - 1])).float()


def beta(draws: Tensor, *, table: Tensor, alpha: float) -> Tensor:
    """Even draws turned to draws from Beta(alpha, alpha). Shape: (B,) in 0..1 to (B,) in 0..1."""
    place = torch.minimum(draws, 1 - draws) * (2 * (_QUANTILES - 1))
    below = place.long().clamp(max=_QUANTILES - 2)
    half = torch.lerp(table[below], table[below + 1], place - below) ** (1 / alpha)
    return torch.where(draws < 0.5, half, 1 - half)


def _pasted(paste: Tensor, *, side: int) -> tuple[Tensor, Tensor]:
    """Where images stay as they are, and how much of them. Shape: (3, B) to (B, S, S), (B,)."""
    half = (1 - paste[0]).sqrt() * (side / 2)
    top, left = ((paste[1:] * side - half).round()).clamp(0, side)
    bottom, right = ((paste[1:] * side + half).round()).clamp(0, side)
    keep = (~_box(top, left, bottom, right, side=side)).float()
    return keep, 1 - (bottom - top) * (right - left) / side**2


def _box(top: Tensor, left: Tensor, bottom: Tensor, right: Tensor, *, side: int) -> Tensor:
    """Pixels inside boxes. Shape: (B,) four times to (B, S, S) bool."""
    grid = torch.arange(side, device=top.device)
    rows = (grid >= top[:, None]) & (grid < bottom[:, None])
    cols = (grid >= left[:, None]) & (grid < right[:, None])
    return rows[:, :, None] & cols[:, None, :]


def _column(choice: Tensor | None) -> Tensor:
    assert choice is not None, "mixup beside cutmix needs a choice"
    return choice[:, None, None]
