"""The images that a search trains and validates on, and the splits that it and its check use."""

from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from cmt_search.dataset_spec import DatasetSpec
from cmt_search.errors import DataError
from cmt_search.proxy.labelled import Labelled
from cmt_search.proxy.residency import fits

__all__ = ["Dataset", "Labelled"]

_ENOUGH = 2000  # validation images


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Dataset:
    """Square uint8 images to train and to validate on.

    Shape: images (N, C, S, S) uint8, labels (N,) int64, mean and std (C,) float.
    """

    spec: DatasetSpec
    train: Labelled
    val: Labelled
    classes: tuple[str, ...]
    mean: Tensor  # of the training images at their native resolution, 0..255
    std: Tensor  # likewise

    @property
    def in_chans(self) -> int:
        """Image channels."""
        return self.train.shape[1]

    @property
    def num_classes(self) -> int:
        """Classes, whether or not the validation images show them all."""
        return len(self.classes)

    @property
    def resolution(self) -> int:
        """Side of the images, pixels."""
        return self.train.shape[-1]

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know before relying on it."""
        if len(self.val) >= _ENOUGH:
            return ()
        error = 100 * (0.25 / len(self.val)) ** 0.5  # points, where half of the images are right
        return (
            f"{len(self.val):,} validation images are few: their choice alone moves top1 by about "
            f"{error:.1f} points (one standard error); use at least {_ENOUGH:,}",
        )

    def resized(self, side: int) -> Self:
        """The same images at another side, antialiased and rounded back to uint8."""
        if side == self.resolution:
            return self
        return replace(self, train=self.train.resized(side), val=self.val.resized(side))

    def subset(self, fraction: float) -> Self:
        """A fixed, stratified part of the training images; smaller parts lie within larger ones.

        Raises:
            DataError: the fraction is not above 0 and at most 1.
        """
        if not 0 < fraction <= 1:
            raise DataError(f"data_fraction={fraction} is no part of the images; use 0 < f <= 1")
        if fraction == 1:
            return self
        return replace(self, train=self.train.keep(self.train.ranks() < fraction))

    def to(self, device: torch.device) -> Self:
        """For use on another device: images that fit there move, others are left to be fed."""
        if device == self.mean.device:
            return self
        train, val = (
            part.to(device) if fits(part.nbytes, device) else part
            for part in (self.train, self.val)
        )
        return replace(
            self, train=train, val=val, mean=self.mean.to(device), std=self.std.to(device)
        )
