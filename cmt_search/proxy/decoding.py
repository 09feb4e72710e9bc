"""Image files to squares of uint8, many at a time, into the cache."""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

import PIL
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import v2

from cmt_search.proxy.cache import SetCache, SetWriter
from cmt_search.proxy.labelled import Labelled

T = TypeVar("T")
_AT_ONCE = 512  # images held before they are written
_THREADS = 16  # at most; decoding and resizing let go of Python's lock


class Square:
    """The centre of an image at a side in pixels: antialiased, three channels.

    Shape: to (3, side, side) uint8.
    """

    def __init__(self, side: int) -> None:
        steps = [v2.Resize(side, antialias=True), v2.CenterCrop(side), v2.PILToTensor()]
        self._fit = v2.Compose(steps)

    def __call__(self, image: Image.Image) -> Tensor:
        """Fit one image."""
        tensor: Tensor = self._fit(image.convert("RGB"))
        return tensor


def cached_images(
    items: Callable[[], Iterable[T]],
    *,
    decode: Callable[[T], tuple[Tensor, int]],
    classes: Callable[[Tensor], tuple[str, ...]],
    identity: str,
    threads: bool = True,
) -> tuple[Labelled, tuple[str, ...]]:
    """The images that `decode` makes of `items`, from the cache if they are there.

    `identity` must tell them from all others; it is hashed together with the decoder's release.
    `classes` names the classes, given the labels (N,). Neither is called for a stored set.

    Raises:
        DataError: the cache cannot take them; or what `decode` raises.
    """
    text = f"{identity}\0Pillow {PIL.__version__}"
    key = hashlib.sha256(text.encode()).hexdigest()[:32]

    def build(writer: SetWriter) -> tuple[str, ...]:
        workers = min(len(os.sched_getaffinity(0)), _THREADS) if threads else 1
        with ThreadPoolExecutor(workers, thread_name_prefix="decode") as pool:
            for some in _batched(items(), _AT_ONCE):
                pairs = list(pool.map(decode, some))
                labels = torch.tensor([label for _, label in pairs])
                writer.add(torch.stack([image for image, _ in pairs]), labels)
        return classes(torch.cat(writer.labels))

    stored = SetCache.default().load(key, build)
    return Labelled.of_stored(stored, key=key), stored.classes


def _batched(items: Iterable[T], count: int) -> Iterator[list[T]]:
    source = iter(items)
    while some := list(islice(source, count)):
        yield some
