"""Image sets in memory or memory-mapped, their subsets, and batches of them on a device."""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from cmt_search.dataset_spec import DatasetSpec
from cmt_search.errors import DataError

_CHUNK = 2048  # images copied, or counted, at a time
_STATISTICS_IMAGES = 100_000  # images that normalisation statistics are computed from, at most
_ENOUGH_VAL_IMAGES = 2000
_READ_AHEAD = 2  # batches

Batch = tuple[Tensor, Tensor]  # images (B, C, S, S) uint8, labels (B,) int64


class ImageSet:
    """Images and their labels. A subset refers to the images of its source and copies nothing.

    Shape: images (N, C, S, S) uint8, labels (N,) int64, rows (M,) int64 or None for all.
    """

    __slots__ = ("_images", "_rows", "labels")

    def __init__(self, *, images: Tensor, labels: Tensor, rows: Tensor | None = None) -> None:
        self._images = images
        self._rows = rows
        self.labels = labels  # of the rows

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def images(self) -> Tensor:
        """The images; a copy where the set is a subset. Shape: (N, C, S, S) uint8."""
        return self._images if self._rows is None else self._images[self._rows]

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Shape of `images`, without a copy."""
        _, channels, height, width = self._images.shape
        return len(self), channels, height, width

    @property
    def device(self) -> torch.device:
        """Device of the images."""
        return self._images.device

    def take(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Gather images and labels. Shape: (B,) int64 to (B, C, S, S), (B,)."""
        rows = indices if self._rows is None else self._rows[indices]
        return self._images[rows], self.labels[indices]

    def select(self, mask: Tensor, *, labels: Tensor | None = None) -> "ImageSet":
        """Return the subset of a mask, in the same order; `labels` replaces those of the set.

        Shape: (N,) bool, (N,) int64.
        """
        rows = torch.nonzero(mask).flatten()
        labels = (self.labels if labels is None else labels)[rows]
        if self._rows is not None:
            rows = self._rows[rows]
        return ImageSet(images=self._images, labels=labels, rows=rows)

    def to(self, device: torch.device) -> "ImageSet":
        """Copy the images to a device; on the same device, return the set itself."""
        if device == self.device:
            return self
        images = torch.empty(self.shape, dtype=torch.uint8, device=device)
        for start, chunk in self._chunks():
            images[start : start + len(chunk)] = chunk.to(device)
        return ImageSet(images=images, labels=self.labels.to(device))

    def _chunks(self) -> Iterator[tuple[int, Tensor]]:
        """Yield consecutive parts of the images, each with the index of its first image."""
        for start in range(0, len(self), _CHUNK):
            part = slice(start, start + _CHUNK)
            yield start, self._images[part if self._rows is None else self._rows[part]]

    def class_ranks(self, *, seed: int = 0) -> tuple[Tensor, Tensor]:
        """Rank each image in a fixed shuffle of its class, and count the images of the class.

        Images whose rank is below a threshold are a stratified subset, nested in that of every
        larger threshold.

        Shape: (N,) int64, (N,) int64.
        """
        shuffle = np.random.RandomState(seed)  # the one generator whose stream NumPy never changes
        labels = self.labels.cpu()
        ranks, counts = torch.empty_like(labels), labels.bincount()
        for label in range(len(counts)):
            members = torch.nonzero(labels == label).flatten()
            ranks[members] = torch.from_numpy(shuffle.permutation(len(members)))
        return ranks.to(self.labels.device), counts[labels].to(self.labels.device)

    def class_quantiles(self, *, seed: int = 0) -> Tensor:
        """Divide the ranks by the counts: 0 to 1, exclusive. Shape: (N,) float64."""
        ranks, counts = self.class_ranks(seed=seed)
        return ranks.double() / counts

    def statistics(self) -> tuple[Tensor, Tensor]:
        """Compute mean and standard deviation of each channel from its histogram.

        Of more than 100,000 images, every k-th is used.

        Shape: (C,), (C,) float32.
        """
        stride = -(-len(self) // _STATISTICS_IMAGES)
        counts = torch.zeros(self.shape[1], 256, dtype=torch.int64)
        for _, chunk in self._chunks():
            for i, channel in enumerate(chunk[::stride].unbind(1)):
                counts[i] += torch.bincount(channel.flatten(), minlength=256).cpu()
        share = counts.double() / counts.sum(1, keepdim=True)
        values = torch.arange(256, dtype=torch.float64)
        mean = share @ values
        variance = share @ values.square() - mean.square()
        return mean.float(), variance.clamp(min=1.0).sqrt().float()


Decoded = tuple[ImageSet, tuple[str, ...]]  # with the names of the classes, by label


def resize(images: Tensor, side: int) -> Tensor:
    """Resize square images, antialiased, rounded back to uint8.

    Shape: (B, C, S, S) uint8 to (B, C, side, side) uint8.
    """
    if images.shape[-1] == side:
        return images
    resized = F.interpolate(images.float(), size=(side, side), mode="bilinear", antialias=True)
    return resized.round_().clamp_(0, 255).to(torch.uint8)


def fits_in_memory(images: ImageSet, device: torch.device) -> bool:
    """Whether images take at most 40% of a GPU's free memory: networks need the rest.

    In main memory they are mapped, and always fit.
    """
    if device.type != "cuda":
        return True
    return torch.Size(images.shape).numel() <= 0.4 * torch.cuda.mem_get_info(device)[0]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Dataset:
    """Square uint8 images for training and validation, at their native resolution.

    Shape: mean and std (C,) float.
    """

    spec: DatasetSpec
    train: ImageSet
    val: ImageSet
    classes: tuple[str, ...]
    mean: Tensor  # of the training images, 0..255
    std: Tensor  # likewise

    @property
    def in_chans(self) -> int:
        """Number of image channels."""
        return self.train.shape[1]

    @property
    def num_classes(self) -> int:
        """Number of classes, whether or not the validation images show them all."""
        return len(self.classes)

    @property
    def resolution(self) -> int:
        """Side of the images in pixels."""
        return self.train.shape[-1]

    @property
    def notes(self) -> tuple[str, ...]:
        """Warnings for users of this data set."""
        if len(self.val) >= _ENOUGH_VAL_IMAGES:
            return ()
        error = 100 * (0.25 / len(self.val)) ** 0.5  # points, where half of the images are right
        return (
            f"{len(self.val):,} validation images are few: their choice alone moves top1 by about "
            f"{error:.1f} points (one standard error); use at least {_ENOUGH_VAL_IMAGES:,}",
        )

    def subset(self, fraction: float) -> Self:
        """Return a fixed, stratified part of the training images; smaller parts are nested.

        Raises:
            DataError: the fraction is not above 0 and at most 1.
        """
        if not 0 < fraction <= 1:
            raise DataError(f"data_fraction={fraction} is out of range; use 0 < fraction <= 1")
        if fraction == 1:
            return self
        return replace(self, train=self.train.select(self.train.class_quantiles() < fraction))

    def normalize(self, images: Tensor) -> Tensor:
        """Return a normalised copy of images of 0..255, in float32, channels last in memory.

        Shape: (B, C, S, S) to the same.
        """
        x = images.to(dtype=torch.float32, memory_format=torch.channels_last, copy=True)
        return x.sub_(self.mean[:, None, None]).mul_(self.std.reciprocal()[:, None, None])

    def to(self, device: torch.device) -> Self:
        """Move the statistics to a device, and the images that fit there."""
        if device == self.mean.device:
            return self
        train, val = (
            part.to(device) if fits_in_memory(part, device) else part
            for part in (self.train, self.val)
        )
        return replace(
            self, train=train, val=val, mean=self.mean.to(device), std=self.std.to(device)
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BatchLoader:
    """Yields the batches of an image set; they do not depend on where the images are."""

    images: ImageSet
    device: torch.device
    resident: bool  # gather batches in place, instead of reading them ahead in a thread

    @classmethod
    def of(cls, images: ImageSet, *, device: torch.device) -> Self:
        """Create a loader; images are resident on a device where they fit."""
        resident = images.device == device or fits_in_memory(images, device)
        return cls(
            images=images.to(device) if resident else images, device=device, resident=resident
        )

    def batches(self, order: Iterable[Tensor]) -> Iterator[Batch]:
        """Yield the images and labels of each row of `order`.

        Errors of the reading thread reach the caller. Closing the iterator ends the thread.

        Shape: order (n, B) int64 to n times (B, C, S, S) uint8 and (B,) int64.
        """
        if self.resident:
            rows = order.to(self.device) if isinstance(order, Tensor) else order
            for indices in rows:
                yield self.images.take(indices.to(self.device))
        else:
            yield from self._read_ahead(order)

    def _read_ahead(self, order: Iterable[Tensor]) -> Iterator[Batch]:
        pending: deque[Future[Batch]] = deque()
        with ThreadPoolExecutor(1, thread_name_prefix="loader") as pool:
            for indices in order:
                pending.append(pool.submit(self._gather, indices))
                if len(pending) > _READ_AHEAD:
                    yield self._copy(pending.popleft().result())
            while pending:
                yield self._copy(pending.popleft().result())

    def _gather(self, indices: Tensor) -> Batch:
        images, labels = self.images.take(indices.cpu())
        if self.device.type == "cuda":
            return images.pin_memory(), labels.pin_memory()
        return images, labels

    def _copy(self, batch: Batch) -> Batch:
        """Copy a batch to the device; from pinned memory, concurrently with earlier steps."""
        images, labels = batch
        return (
            images.to(self.device, non_blocking=True),
            labels.to(self.device, non_blocking=True),
        )
