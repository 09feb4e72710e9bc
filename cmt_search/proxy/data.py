"""Image sets in memory: splits, classes, subsets."""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from cmt_search.dataset_spec import DatasetSpec
from cmt_search.errors import DataError
from cmt_search.proxy.cache import SetCache, SetWriter, StoredSet

_CHUNK = 2048  # images turned to float, or copied, at a time


class ImageSet:
    """Images and their classes.

    Those of the cache stay there: `keep` then notes which ones are meant, and only `images` and
    `take` bring them to memory.

    Shape: images (N, C, H, W) uint8, labels (N,) int64.
    """

    __slots__ = ("_images", "_rows", "_stored", "labels")

    def __init__(self, *, images: Tensor, labels: Tensor) -> None:
        self.labels = labels
        self._images = images  # all of the store, of which `_rows` are meant
        self._rows: Tensor | None = None
        self._stored: tuple[str, StoredSet] | None = None  # what is mapped, and its key

    @classmethod
    def of_stored(cls, stored: StoredSet, *, key: str) -> "ImageSet":
        """All images of a set in the cache; they keep it from being evicted."""
        part = cls(images=stored.images, labels=stored.labels)
        part._stored = (key, stored)
        return part

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def images(self) -> Tensor:
        """All of them; a copy in memory where they are part of a stored set."""
        return self._images if self._rows is None else self._images[self._rows]

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Of the images, without reading them."""
        _, channels, height, width = self._images.shape
        return len(self), channels, height, width

    @property
    def nbytes(self) -> int:
        """Bytes of the images."""
        return torch.Size(self.shape).numel()

    @property
    def mapped(self) -> bool:
        """Whether the images lie on disk, mapped into memory."""
        return self._stored is not None

    @property
    def device(self) -> torch.device:
        """Where the images are."""
        return self._images.device

    def take(self, chosen: Tensor) -> tuple[Tensor, Tensor]:
        """Some images, and their classes. Shape: (B,) int64 to (B, C, H, W), (B,)."""
        rows = chosen if self._rows is None else self._rows[chosen]
        return self._images[rows], self.labels[chosen]

    def keep(self, mask: Tensor) -> "ImageSet":
        """Those that the mask (N,) keeps, in the same order."""
        if self._stored is None:
            return ImageSet(images=self.images[mask], labels=self.labels[mask])
        rows = torch.nonzero(mask).flatten()
        part = ImageSet(images=self._images, labels=self.labels[rows])
        part._rows = rows if self._rows is None else self._rows[rows]
        part._stored = self._stored
        return part

    def relabelled(self, labels: Tensor) -> "ImageSet":
        """The same images with other classes. Shape: (N,) int64."""
        part = ImageSet(images=self._images, labels=labels)
        part._rows, part._stored = self._rows, self._stored
        return part

    def to(self, device: torch.device) -> "ImageSet":
        """The same images in the memory of a device; mapped ones stay so on the CPU."""
        if device == self.device:
            return self
        images = torch.empty(self.shape, dtype=torch.uint8, device=device)
        for start, chunk in self._chunks():
            images[start : start + len(chunk)] = chunk.to(device)
        return ImageSet(images=images, labels=self.labels.to(device))

    def resized(self, side: int) -> "ImageSet":
        """Antialiased and rounded back to uint8; stored ones are stored at the new side, too.

        Raises:
            DataError: the cache cannot take them.
        """
        if self._stored is None:
            parts = [_resize(chunk, side) for _, chunk in self._chunks()]
            return ImageSet(images=torch.cat(parts), labels=self.labels)

        def build(writer: SetWriter) -> tuple[str, ...]:
            for start, chunk in self._chunks():
                writer.add(_resize(chunk, side), self.labels[start : start + len(chunk)])
            return ()

        key = self._key_at(side)
        stored = SetCache.default().load(key, build)
        return ImageSet.of_stored(stored, key=key)

    def _key_at(self, side: int) -> str:
        """Hash of the contents at another side: of the source's key, and which and what it is."""
        assert self._stored is not None
        found = hashlib.sha256(f"{self._stored[0]} at {side}".encode())
        for values in (self._rows, self.labels):
            found.update(b"all" if values is None else values.numpy().tobytes())
        return found.hexdigest()[:32]

    def _chunks(self) -> Iterator[tuple[int, Tensor]]:
        """A few images at a time, and the place of the first of them."""
        for start in range(0, len(self), _CHUNK):
            part = slice(start, start + _CHUNK)
            yield start, self._images[part if self._rows is None else self._rows[part]]

    def ranks(self, *, seed: int = 0) -> Tensor:
        """Place of each image in a fixed shuffle of its class, 0 (first) to 1 (exclusive).

        The images below a threshold are a stratified subset, and those of a lower threshold lie
        within it.

        Shape: (N,) float64.
        """
        places, counts = self.places(seed=seed)
        return places.double() / counts

    def places(self, *, seed: int = 0) -> tuple[Tensor, Tensor]:
        """Place of each image in a fixed shuffle of its class, and the size of the class.

        Shape: (N,) int64, (N,) int64.
        """
        shuffle = np.random.RandomState(seed)  # the one generator whose stream NumPy never changes
        labels = self.labels.cpu()
        places, counts = torch.empty_like(labels), labels.bincount()
        for label in range(len(counts)):
            members = torch.nonzero(labels == label).flatten()
            places[members] = torch.from_numpy(shuffle.permutation(len(members)))
        return places.to(self.labels.device), counts[labels].to(self.labels.device)

    def statistics(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of each channel, from its histogram: no float copy is made.

        Of more than 100,000 images, every k-th is looked at.

        Shape: (C,), (C,) float32.
        """
        every = -(-len(self) // _LOOKED_AT)
        counts = torch.zeros(self.shape[1], 256, dtype=torch.int64)
        for _, chunk in self._chunks():
            for i, channel in enumerate(chunk[::every].unbind(1)):
                counts[i] += torch.bincount(channel.flatten(), minlength=256).cpu()
        share = counts.double() / counts.sum(1, keepdim=True)
        values = torch.arange(256, dtype=torch.float64)
        mean = share @ values
        variance = share @ values.square() - mean.square()
        return mean.float(), variance.clamp(min=1.0).sqrt().float()


_LOOKED_AT = 100_000


def _resize(images: Tensor, side: int) -> Tensor:
    resized = F.interpolate(images.float(), size=(side, side), mode="bilinear", antialias=True)
    return resized.round_().clamp_(0, 255).to(torch.uint8)


def select_classes(spec: DatasetSpec, *, names: tuple[str, ...]) -> tuple[str, ...]:
    """The classes in use, in the source's order.

    Raises:
        DataError: there are no such classes, or fewer.
    """
    if spec.classes is None:
        return names
    if isinstance(spec.classes, int):
        if spec.classes > len(names):
            raise DataError(
                f"proxy.dataset.classes={spec.classes}, but {spec.name} has {len(names)}; "
                "use fewer, or leave the key out"
            )
        order = np.random.RandomState(spec.subset_seed).permutation(len(names))
        return tuple(names[i] for i in sorted(order[: spec.classes]))
    unknown = [name for name in spec.classes if name not in names]
    if unknown:
        raise DataError(
            f"proxy.dataset.classes: {spec.name} has no class {unknown[0]!r}; "
            f"it has {', '.join(names[:10])}{', ...' if len(names) > 10 else ''}"
        )
    return tuple(name for name in names if name in spec.classes)


def filter_classes(part: ImageSet, *, chosen: tuple[str, ...], names: tuple[str, ...]) -> ImageSet:
    """The images of some classes, numbered anew."""
    if chosen == names:
        return part
    new = torch.full((len(names),), -1)
    new[torch.tensor([names.index(name) for name in chosen])] = torch.arange(len(chosen))
    labels = new[part.labels]
    return part.relabelled(labels).keep(labels >= 0)


def subsample(part: ImageSet, spec: DatasetSpec) -> ImageSet:
    """As many images of each class as the spec asks for; every class keeps at least one.

    Raises:
        DataError: a class has fewer images than asked for.
    """
    if spec.fraction is not None and spec.fraction < 1:
        return part.keep(part.ranks(seed=spec.subset_seed) < spec.fraction)
    if spec.per_class is not None:
        places, counts = part.places(seed=spec.subset_seed)
        if int(counts.min()) < spec.per_class:
            raise DataError(
                f"proxy.dataset.per_class={spec.per_class}, but a class of {spec.name} has "
                f"{int(counts.min())} training images; use at most that many"
            )
        return part.keep(places < spec.per_class)
    return part


_PART = {"cuda": 0.4, "cpu": 0.5}  # of the free memory; the rest is for networks and other trials
_CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")


def fits_in_memory(size: int, device: torch.device) -> bool:
    """Whether so many bytes may stay: at most 40% of a GPU's free memory, half of a machine's."""
    if device.type == "cuda":
        return size <= _PART["cuda"] * torch.cuda.mem_get_info(device)[0]
    return size <= _PART["cpu"] * available_memory()


def available_memory() -> int:
    """Bytes of main memory that a process may still take, caches of files counted as free."""
    available = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        for line in meminfo.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                available = int(line.split()[1]) * 1024
    if _CGROUP_LIMIT.exists() and (limit := _CGROUP_LIMIT.read_text().strip()).isdigit():
        available = min(available, int(limit))
    return available


__all__ = ["Dataset", "ImageSet"]

_ENOUGH = 2000  # validation images


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Dataset:
    """Square uint8 images to train and to validate on.

    Shape: images (N, C, S, S) uint8, labels (N,) int64, mean and std (C,) float.
    """

    spec: DatasetSpec
    train: ImageSet
    val: ImageSet
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
            part.to(device) if fits_in_memory(part.nbytes, device) else part
            for part in (self.train, self.val)
        )
        return replace(
            self, train=train, val=val, mean=self.mean.to(device), std=self.std.to(device)
        )
