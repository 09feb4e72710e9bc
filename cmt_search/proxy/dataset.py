"""Labelled images as uint8 tensors in memory, and the splits that a search and its check use."""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from cmt_search.dataset_spec import DatasetSpec
from cmt_search.errors import DataError

_RESIZE_CHUNK = 2048  # images turned to float at a time


@dataclass(frozen=True, slots=True, kw_only=True)
class Labelled:
    """Images and their classes.

    Shape: images (N, C, H, W) uint8, labels (N,) int64.
    """

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def keep(self, mask: Tensor) -> "Labelled":
        """Those that the mask (N,) keeps, in the same order."""
        return Labelled(images=self.images[mask], labels=self.labels[mask])

    def ranks(self) -> Tensor:
        """Place of each image in the fixed shuffle of its class, 0 (first) to 1 (exclusive).

        The images below a threshold are a stratified subset, and those of a lower threshold lie
        within it.

        Shape: (N,) float64.
        """
        shuffle = np.random.RandomState(0)  # the one generator whose stream NumPy never changes
        ranks = torch.empty(len(self), dtype=torch.float64)
        labels = self.labels.cpu()
        for label in range(int(labels.max()) + 1):
            members = torch.nonzero(labels == label).flatten()
            order = torch.from_numpy(shuffle.permutation(len(members)))
            ranks[members] = order.double() / len(members)
        return ranks.to(self.labels.device)


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
        return self.train.images.shape[1]

    @property
    def num_classes(self) -> int:
        """Classes, whether or not the validation images show them all."""
        return len(self.classes)

    @property
    def resolution(self) -> int:
        """Side of the images, pixels."""
        return self.train.images.shape[-1]

    def resized(self, side: int) -> Self:
        """The same images at another side, antialiased and rounded back to uint8."""
        if side == self.resolution:
            return self
        return replace(self, train=_resize(self.train, side), val=_resize(self.val, side))

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
        """The same images on another device."""
        if device == self.mean.device:
            return self
        train, val = (
            Labelled(images=part.images.to(device), labels=part.labels.to(device))
            for part in (self.train, self.val)
        )
        return replace(
            self, train=train, val=val, mean=self.mean.to(device), std=self.std.to(device)
        )


def _resize(part: Labelled, side: int) -> Labelled:
    chunks = [
        F.interpolate(chunk.float(), size=(side, side), mode="bilinear", antialias=True)
        .round_()
        .clamp_(0, 255)
        .to(torch.uint8)
        for chunk in torch.split(part.images, _RESIZE_CHUNK)
    ]
    return Labelled(images=torch.cat(chunks), labels=part.labels)


def channel_statistics(images: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel, from its histogram, so without a float copy.

    Shape: (N, C, H, W) uint8 to (C,), (C,) float32.
    """
    counts = torch.stack(
        [torch.bincount(channel.flatten(), minlength=256) for channel in images.unbind(1)]
    ).double()
    share = counts / counts.sum(1, keepdim=True)
    values = torch.arange(256, dtype=torch.float64)
    mean = share @ values
    variance = share @ values.square() - mean.square()
    return mean.float(), variance.clamp(min=1.0).sqrt().float()
