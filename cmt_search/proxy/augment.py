"""Varying a batch of training images, on the device that holds them and without a look from it."""

from dataclasses import dataclass, field
from typing import Self

import torch
from torch import Tensor
from torch.nn import functional as F

from cmt_search.augmentation import Augment
from cmt_search.proxy.color import jittered
from cmt_search.proxy.geometry import random_windows, resampled, shifted
from cmt_search.proxy.mixing import beta, beta_table, erased, mixed, soft_targets
from cmt_search.proxy.rand_augment import rand_augmented


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Augmenter:
    """Turns stored images into training images and their targets.

    Every image has draws of its own, which do not depend on sizes: with the same generator, an
    image moves by the same fraction of its side at every resolution. Only what is switched on
    draws. Shapes are fixed and nothing is read back to the host, so a CUDA graph may hold a call,
    once a call before it has put the tables on the device.
    """

    spec: Augment
    side: int  # of the results, pixels
    num_classes: int
    _tables: dict[tuple[float, torch.device], Tensor] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, spec: Augment, *, side: int, num_classes: int) -> Self:
        """What varies images as `spec` says, for a network that sees `side` pixels."""
        return cls(spec=spec, side=side, num_classes=num_classes)

    @torch.no_grad()
    def __call__(
        self, images: Tensor, labels: Tensor, *, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:
        """The images varied, and what a network should say of them.

        Images that are only moved and mirrored stay uint8; all others are float32 in 0..255. The
        targets are the labels, or shares of classes where images are mixed.

        Shape: images (B, C, S, S) uint8, labels (B,) int64 to (B, C, side, side), channels last in
        memory, and (B,) int64 or (B, num_classes) float32.
        """
        images = self._framed(images, generator)
        images = self._colored(images, generator)
        targets = labels
        if self.spec.mixes:
            images, share = self._mixed(images, generator)
            targets = soft_targets(labels, share=share, num_classes=self.num_classes)
        return images.contiguous(memory_format=torch.channels_last), targets

    def _framed(self, images: Tensor, generator: torch.Generator | None) -> Tensor:
        """Cropped, moved, mirrored and brought to size."""
        spec = self.spec
        if spec.resized_crop is not None:
            draws = _draws(images, 4 + spec.flip, generator)
            windows = random_windows(draws[:4], areas=spec.resized_crop)
            mirrored = draws[4] < 0.5 if spec.flip else None
            return resampled(images.float(), windows, side=self.side, mirrored=mirrored)
        if images.shape[-1] != self.side:
            size = (self.side, self.side)
            images = F.interpolate(images.float(), size=size, mode="bilinear", antialias=True)
        # Drawn by whether it is asked for, not by its pixels: draws do not depend on sizes.
        moves = 2 * (spec.translate > 0)
        if not moves and not spec.flip:
            return images
        draws = _draws(images, moves + spec.flip, generator)
        margin = round(spec.translate * self.side)
        return shifted(images, draws, margin=margin, flip=spec.flip)

    def _colored(self, images: Tensor, generator: torch.Generator | None) -> Tensor:
        spec = self.spec
        if spec.rand_augment:
            draws = _draws(images, 2 * spec.rand_augment, generator).unflatten(0, (-1, 2))
            images = rand_augmented(images.float(), draws, magnitude=spec.rand_magnitude)
        if spec.color_jitter:
            draws = _draws(images, 3, generator)
            images = jittered(images.float(), draws, strength=spec.color_jitter)
        if spec.random_erasing:
            draws = _draws(images, 5, generator)
            images = erased(images.float(), draws, probability=spec.random_erasing)
        return images

    def _mixed(self, images: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        spec, blend, paste, choice = self.spec, None, None, None
        if spec.mixup:
            blend = self._beta(_draws(images, 1, generator)[0], alpha=spec.mixup)
        if spec.cutmix:
            paste = _draws(images, 3, generator)
            paste[0] = self._beta(paste[0], alpha=spec.cutmix)
        if spec.mixup and spec.cutmix:
            choice = _draws(images, 1, generator)[0] < 0.5
        return mixed(images.float(), blend=blend, paste=paste, choice=choice)

    def _beta(self, draws: Tensor, *, alpha: float) -> Tensor:
        key = (alpha, draws.device)
        if key not in self._tables:
            self._tables[key] = beta_table(alpha).to(draws.device)
        return beta(draws, table=self._tables[key], alpha=alpha)


def _draws(images: Tensor, count: int, generator: torch.Generator | None) -> Tensor:
    return torch.rand((count, len(images)), generator=generator, device=images.device)
