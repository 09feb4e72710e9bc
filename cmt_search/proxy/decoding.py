"""Decode image files into the cache, many at a time."""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import TypeVar

import PIL
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import v2

from cmt_search.proxy.cache import SetCache, SetWriter
from cmt_search.proxy.data import ImageSet

_READ = 2**28  # bytes up to which the contents count


def fingerprint(*roots: Path) -> str:
    """Hash of the files below some paths: of names and contents, wherever they lie.

    Above 256 MiB in all, reading them would take longer than decoding is worth: their sizes and
    times of change stand for the contents, as they do for `make` and `rsync`. A copy of them is
    then another state, unless it keeps the times.
    """
    files = [(i, path) for i, root in enumerate(roots) for path in _files(root)]
    sizes = [path.stat() for _, path in files]
    by_contents = sum(stat.st_size for stat in sizes) <= _READ
    found = hashlib.sha256()
    for (i, path), stat in zip(files, sizes, strict=True):
        name = path.relative_to(roots[i]).as_posix()
        found.update(f"{i}/{name}\0{stat.st_size}\0".encode())
        if by_contents:
            found.update(hashlib.sha256(path.read_bytes()).digest())
        else:
            found.update(str(stat.st_mtime_ns).encode())
    return found.hexdigest()


def _files(root: Path) -> Iterator[Path]:
    if root.is_file():
        yield root
    else:
        yield from sorted(path for path in root.rglob("*") if path.is_file())


T = TypeVar("T")
_AT_ONCE = 512  # images held before they are written
_THREADS = 16  # at most; decoding and resizing let go of Python's lock


class CenterSquare:
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
) -> tuple[ImageSet, tuple[str, ...]]:
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
    return ImageSet.of_stored(stored, key=key), stored.classes


def _batched(items: Iterable[T], count: int) -> Iterator[list[T]]:
    source = iter(items)
    while some := list(islice(source, count)):
        yield some
