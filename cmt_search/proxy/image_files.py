"""Decode data sets of torchvision and timm, in bounded memory, into the cache."""

import hashlib
import logging
import os
import tarfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import torch
from PIL import Image
from timm.data import ImageDataset
from timm.data.readers.reader_image_folder import ReaderImageFolder
from torch import Tensor
from torch.utils.data import IterableDataset
from torchvision.datasets import DatasetFolder, ImageFolder
from torchvision.datasets.folder import IMG_EXTENSIONS
from torchvision.transforms.v2 import functional as F

from cmt_search.cost.config import usable_cores
from cmt_search.errors import DataError
from cmt_search.proxy.cache import load_or_build
from cmt_search.proxy.data import Batch, Decoded

log = logging.getLogger(__name__)

_BATCH = 512  # images decoded before they are written; a stream's, whole in memory, one by one
_MAX_THREADS = 16  # decoding and resizing release Python's lock
_MAX_PIXELS = 2**26  # of one image: 200 MB as RGB
_ERRORS = (  # of Pillow, torchvision and timm where an image is damaged
    *(OSError, RuntimeError, SyntaxError, TypeError, ValueError),
    Image.DecompressionBombError,
    tarfile.TarError,
)


def read_folder(folder: Path, *, side: int) -> Decoded:
    """Read FOLDER/CLASS/.../IMAGE as squares, from the cache if they are there.

    Files that are not images are skipped with a warning.

    Raises:
        DataError: a class has no images, or an image cannot be read.
    """
    files = list_files(folder)
    try:
        source = ImageFolder(folder)
    except OSError as error:
        raise DataError(
            f"{folder} holds no images in folders, one per class ({error}); "
            f"lay them out as {folder}/CLASS/IMAGE"
        ) from error
    images = {path for path, _ in source.samples}
    skipped = [path for path in files if not path.name.startswith(".") and str(path) not in images]
    if skipped:
        message = "%s: %d files are skipped, such as %s; images end in %s"
        log.warning(message, folder, len(skipped), skipped[0], " ".join(IMG_EXTENSIONS))
    return decode_images(
        source, side=side, contents=fingerprint(files, root=folder), title=str(folder)
    )


def list_files(root: Path) -> dict[Path, os.stat_result]:
    """List every file below a folder, or the file itself, in order of path.

    Raises:
        DataError: a link is broken.
    """
    paths = [root] if root.is_file() else []
    for folder, _, names in os.walk(root, followlinks=True):
        paths += [Path(folder, name) for name in names]
    try:
        return {path: path.stat() for path in sorted(paths)}
    except OSError as error:
        raise DataError(
            f"{error.filename} is a broken link ({error}); repair or remove it"
        ) from error


def fingerprint(files: dict[Path, os.stat_result], *, root: Path) -> str:
    """Hash names relative to `root`, sizes and modification times, as `make` compares them."""
    digest = hashlib.sha256()
    for path, stat in files.items():
        name = path.relative_to(root).as_posix()
        digest.update(f"{name}\0{stat.st_size}\0{stat.st_mtime_ns}\0".encode())
    return digest.hexdigest()


def decode_images(source: Any, *, side: int, contents: str, title: str) -> Decoded:
    """Decode the images of a data set as squares, or take them from the cache.

    `contents` must differ from that of all other data sets; it is hashed with `side` and Pillow's
    version. Classes without names are numbered.

    Raises:
        DataError: the cache cannot be written; or an image cannot be read, or has no class. The
            message names its file, or `title` and its number.
    """
    key = hashlib.sha256(f"{contents}\0{side}\0Pillow {PIL.__version__}".encode()).hexdigest()[:32]

    def decode(sample: tuple[int, Any]) -> tuple[Tensor, int]:
        number, streamed = sample
        try:
            image, label = streamed or _open(source, number)
            if not isinstance(label, Integral) or int(label) < 0:
                raise ValueError(f"its class is {label!r}; every image needs one")
            with image:
                return fit_square(image, side=side), int(label)
        except _ERRORS as error:
            raise _unreadable(_name(source, number, title=title), error) from error

    def batches() -> Iterator[Batch]:
        log.info("decoding images into the cache")
        # Tar files and streams have one position for all threads.
        workers = min(usable_cores(), _MAX_THREADS) if _files(source) else 1
        size = 1 if isinstance(source, IterableDataset) else _BATCH
        samples = _samples(source, title=title)
        with ThreadPoolExecutor(workers, thread_name_prefix="decode") as pool:
            while batch := list(islice(samples, size)):
                images, labels = zip(*pool.map(decode, batch), strict=True)
                yield torch.stack(images), torch.tensor(labels)

    reader = getattr(source, "reader", source)
    numbers = getattr(reader, "class_to_idx", None) or getattr(reader, "class_name_to_idx", {})
    return load_or_build(key, batches, classes=sorted(numbers, key=numbers.__getitem__))


def _samples(source: Any, *, title: str) -> Iterator[tuple[int, Any]]:
    """Yield the number of each image; of a stream, with the image and its label."""
    if not isinstance(source, IterableDataset):
        yield from ((number, None) for number in range(len(source)))
        return
    try:
        yield from enumerate(source)
    except _ERRORS as error:
        raise _unreadable(f"{title}: the stream", error) from error


def _files(source: Any) -> list[tuple[str, int]] | None:
    """Return path and label of each image of a folder; None for other data sets."""
    reader = getattr(source, "reader", source)
    return reader.samples if isinstance(reader, DatasetFolder | ReaderImageFolder) else None


def _open(source: Any, number: int) -> tuple[Image.Image, Any]:
    """Open an image with its label.

    The image keeps its mode: the data sets of folders would clip values of 16 bits. timm's would
    also replace an unreadable image by the next.
    """
    if files := _files(source):
        path, label = files[number]
        return Image.open(path), label
    if isinstance(source, ImageDataset):
        file, label, *_ = source.reader[number]
        return Image.open(file), label
    image, label = source[number]
    return image, label


def _name(source: Any, number: int, *, title: str) -> str:
    if files := _files(source):
        return files[number][0]
    has_names = isinstance(source, ImageDataset)
    return f"{title}: {source.filename(number) if has_names else f'image {number}'}"


def _unreadable(name: str, error: Exception) -> DataError:
    return DataError(f"{name} cannot be read as an image ({error}); repair or remove it")


def fit_square(image: Image.Image, *, side: int) -> Tensor:
    """Resize an image, antialiased, and crop its centre.

    Shape: to (3, side, side) uint8.

    Raises:
        ValueError: it has too many pixels, or values of an unknown range.
    """
    if image.width * image.height > _MAX_PIXELS:
        image.draft("RGB", (side, side))  # JPEG is decoded at a part of its size
    if image.width * image.height > _MAX_PIXELS:
        raise ValueError(
            f"{image.width} x {image.height} pixels are more than {_MAX_PIXELS:,}; shrink it"
        )
    resized = F.resize(_to_rgb(image), [side], antialias=True)
    tensor: Tensor = F.pil_to_tensor(F.center_crop(resized, [side, side]))
    return tensor


def _to_rgb(image: Image.Image) -> Image.Image:
    """Convert to RGB; Pillow would clip 16-bit values at 255."""
    if image.mode.startswith("I;16"):
        values = np.asarray(image).astype(np.float32) / 257
        image = Image.fromarray(np.rint(values).astype(np.uint8))
    elif image.mode in ("I", "F"):
        raise ValueError(f"mode {image.mode} has no fixed range of values; convert it to 8 bits")
    return image.convert("RGB")
