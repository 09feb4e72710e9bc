"""Batches of images on a device: gathered in place, or read ahead by a thread."""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from cmt_search.proxy.data import ImageSet, fits_in_memory

_READ_AHEAD = 2  # batches

Batch = tuple[Tensor, Tensor]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BatchLoader:
    """Yields the batches of an image set; they do not depend on where the images are."""

    images: ImageSet
    device: torch.device
    resident: bool  # gather batches in place, instead of reading them ahead in a thread

    @classmethod
    def of(cls, images: ImageSet, *, device: torch.device, resident: bool | None = None) -> Self:
        """Create a loader; by default, images are resident on a device where they fit."""
        if resident is None:
            there = images.device == device and device.type != "cpu"
            resident = there or fits_in_memory(images.nbytes, device)
        if resident:
            images = images.to(device)
        return cls(images=images, device=device, resident=resident)

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
