"""Random flips and crops of a whole batch at once, on the device that holds the images."""

import torch
from torch import Tensor


def augment(
    padded: Tensor, chosen: Tensor, *, side: int, flip: bool, generator: torch.Generator
) -> Tensor:
    """A crop of each chosen image, half of them mirrored, gathered in one indexing.

    The draws do not depend on the sizes: with the same generator, an image moves by the same
    fraction of its side at every resolution.

    Shape: padded (N, C, P, P), chosen (B,) to (B, C, side, side), channels last in memory.
    """
    draws = torch.rand((3, len(chosen)), generator=generator, device=padded.device)
    slack = padded.shape[-1] - side
    top, left = (draws[:2] * (slack + 1)).long()[:, :, None]  # (B, 1) each
    grid = torch.arange(side, device=padded.device)
    mirrored = (draws[2] < 0.5)[:, None] if flip else torch.zeros_like(left, dtype=torch.bool)
    rows = top + grid  # (B, side)
    cols = left + torch.where(mirrored, grid.flip(0), grid)
    crops = padded[chosen[:, None, None], :, rows[:, :, None], cols[:, None, :]]  # (B, H, W, C)
    return crops.permute(0, 3, 1, 2)
