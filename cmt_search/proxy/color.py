"""Colours of a whole batch, on the device that holds it."""

import torch
from torch import Tensor


def gray(images: Tensor) -> Tensor:
    """Brightness as the eye sees it. Shape: (B, C, S, S) float to (B, 1, S, S)."""
    if images.shape[1] != 3:
        return images.mean(1, keepdim=True)
    red, green, blue = images.split(1, dim=1)
    total: Tensor = 0.299 * red + 0.587 * green + 0.114 * blue
    return total


def jittered(images: Tensor, draws: Tensor, *, strength: float) -> Tensor:
    """Brightness, then contrast, then saturation, each times 1 - strength to 1 + strength.

    Images of one channel have no saturation, and keep it.

    Shape: images (B, C, S, S) float in 0..255, draws (3, B) in 0..1.
    """
    factors = 1 + strength * (2 * draws - 1)
    brightness, contrast, saturation = factors[:, :, None, None, None]
    images = (images * brightness).clamp(0, 255)
    images = torch.lerp(gray(images).mean((2, 3), keepdim=True), images, contrast).clamp(0, 255)
    if images.shape[1] == 3:
        images = torch.lerp(gray(images), images, saturation).clamp(0, 255)
    return images
