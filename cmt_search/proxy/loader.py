"""Batches of images on a device, indexed there or brought to it ahead of time."""

import queue
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from cmt_search.proxy.data import ImageSet, fits_in_memory

_AHEAD = 2  # batches that wait for the device
_WAIT = 0.1  # seconds between looks at whether anybody still wants batches

Batch = tuple[Tensor, Tensor]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Feed:
    """Gives the batches of one set of images, the same ones wherever the images lie."""

    part: ImageSet
    device: torch.device
    resident: bool  # whether batches are gathered in place, rather than by a thread ahead of time

    @classmethod
    def of(cls, part: ImageSet, *, device: torch.device, resident: bool | None = None) -> Self:
        """A feed; `resident=None` leaves it to where the images are and whether they fit."""
        if resident is None:
            there = part.device == device and not part.mapped
            resident = there or fits_in_memory(part.nbytes, device)
        return cls(part=part.to(device) if resident else part, device=device, resident=resident)

    def batches(self, order: Iterable[Tensor]) -> Iterator[Batch]:
        """The images of each row of `order`, uint8, and their labels.

        An error while reading reaches the caller. Closing the iterator ends its thread.

        Shape: order (n, B) int64 to n times (B, C, S, S) uint8 and (B,) int64.
        """
        if self.resident:
            rows = order.to(self.device) if isinstance(order, Tensor) else order
            for chosen in rows:
                yield self.part.take(chosen.to(self.device))
        else:
            yield from self._ahead(order)

    def _ahead(self, order: Iterable[Tensor]) -> Iterator[Batch]:
        ready: queue.Queue[Batch | Exception | None] = queue.Queue(maxsize=_AHEAD)
        over = threading.Event()
        thread = threading.Thread(
            target=self._gather, args=(order, ready, over), name="feed", daemon=True
        )
        thread.start()
        try:
            while (item := ready.get()) is not None:
                if isinstance(item, Exception):
                    raise item
                images, labels = item
                # From pinned memory, the copy runs beside the steps before it.
                yield (
                    images.to(self.device, non_blocking=True),
                    labels.to(self.device, non_blocking=True),
                )
        finally:
            over.set()
            thread.join()

    def _gather(
        self,
        order: Iterable[Tensor],
        ready: "queue.Queue[Batch | Exception | None]",
        over: threading.Event,
    ) -> None:
        try:
            for chosen in order:
                images, labels = self.part.take(chosen.cpu())
                if self.device.type == "cuda":
                    images, labels = images.pin_memory(), labels.pin_memory()
                if not _offer((images, labels), ready, over):
                    return
            _offer(None, ready, over)
        except Exception as error:  # noqa: BLE001 - whatever it is, the caller gets it
            _offer(error, ready, over)


def _offer(
    item: Batch | Exception | None,
    ready: "queue.Queue[Batch | Exception | None]",
    over: threading.Event,
) -> bool:
    """Put it in the queue; False if nobody takes from there any more."""
    while not over.is_set():
        try:
            ready.put(item, timeout=_WAIT)
        except queue.Full:
            continue
        return True
    return False
