"""Image files: listed with one stat call each, decoded in bounded memory into the cache."""

import hashlib
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np
import PIL
import torch
from PIL import Image
from torch import Tensor
from torchvision.datasets.folder import IMG_EXTENSIONS
from torchvision.transforms.v2 import functional as F

from cmt_search.cost.config import usable_cores
from cmt_search.errors import DataError
from cmt_search.proxy.cache import Classes, Decoded, load_or_build
from cmt_search.proxy.data import Batch

log = logging.getLogger(__name__)
T = TypeVar("T")

_CONTENT_BYTES = 2**28  # up to which a fingerprint covers the contents of files
_BATCH = 512  # images decoded before they are written
_MAX_THREADS = 16  # decoding and resizing release Python's lock
_MAX_PIXELS = 2**26  # of one image: 200 MB as RGB
UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)  # what Pillow raises

File = tuple[Path, os.stat_result]


def list_files(root: Path) -> list[File]:
    """List every file below a folder, or the file itself, in order of path.

    Raises:
        DataError: a link is broken.
    """
    paths = [root] if root.is_file() else []
    for folder, _, names in os.walk(root, followlinks=True):
        paths += [Path(folder, name) for name in names]
    try:
        return [(path, path.stat()) for path in sorted(paths)]
    except OSError as error:
        raise DataError(
            f"{error.filename} is a broken link ({error}); repair or remove it"
        ) from error


def fingerprint(files: Sequence[File], *, root: Path) -> str:
    """Hash the names of files relative to `root`, and their contents.

    Above 256 MiB in total, sizes and modification times are hashed instead of the contents, as
    `make` and `rsync` do: reading would take longer than decoding.
    """
    by_content = sum(stat.st_size for _, stat in files) <= _CONTENT_BYTES
    digest = hashlib.sha256()
    for path, stat in files:
        digest.update(f"{path.relative_to(root).as_posix()}\0{stat.st_size}\0".encode())
        if by_content:
            digest.update(hashlib.sha256(path.read_bytes()).digest())
        else:
            digest.update(str(stat.st_mtime_ns).encode())
    return digest.hexdigest()


def read_folder(folder: Path, *, side: int) -> Decoded:
    """Read FOLDER/CLASS/.../IMAGE as squares, from the cache if they are there.

    Files that are not images are skipped with a warning.

    Raises:
        DataError: a class has no images, or an image cannot be read.
    """
    files = list_files(folder)
    samples = _samples(folder, [path for path, _ in files])
    classes = tuple(sorted({name for name, _ in samples}))

    def decode(sample: tuple[str, Path]) -> tuple[Tensor, int]:
        name, path = sample
        try:
            with Image.open(path) as image:
                return fit_square(image, side=side), classes.index(name)
        except UNREADABLE as error:
            raise DataError(
                f"{path} cannot be read as an image ({error}); repair or remove it"
            ) from error

    return cached_images(
        lambda: samples,
        decode=decode,
        classes=lambda _: classes,
        identity=f"folder\0{side}\0{fingerprint(files, root=folder)}",
    )


def _samples(folder: Path, files: Sequence[Path]) -> list[tuple[str, Path]]:
    """Pair image files with their classes, in the order of torchvision's ImageFolder.

    Raises:
        DataError: a class has no images, or the folder has no classes.
    """
    samples, skipped = [], []
    for path in files:
        name = path.relative_to(folder).parts[0]
        if path.parent != folder and path.suffix.lower() in IMG_EXTENSIONS:
            samples.append((name, path))
        elif not path.name.startswith("."):
            skipped.append(path)
    names = {entry.name for entry in folder.glob("*/")}
    empty = sorted(names - {name for name, _ in samples})
    if empty or not samples:
        missing = f"no image for class {empty[0]!r}" if empty else "no folders"
        raise DataError(
            f"{folder} holds no images in folders, one per class ({missing}); "
            f"lay them out as {folder}/CLASS/IMAGE"
        )
    if skipped:
        message = "%s: %d files are skipped, such as %s; images end in %s"
        log.warning(message, folder, len(skipped), skipped[0], " ".join(IMG_EXTENSIONS))
    return sorted(samples, key=lambda sample: (sample[0], str(sample[1].parent), sample[1].name))


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


def cached_images(
    items: Callable[[], Iterable[T]],
    *,
    decode: Callable[[T], tuple[Tensor, int]],
    classes: Callable[[Tensor], Classes],
    identity: str,
    threads: bool = True,
) -> Decoded:
    """Decode `items` into images and labels, or take them from the cache.

    `identity` must differ from that of all other sets; it is hashed with Pillow's version.
    `classes` maps the labels (N,) to names. Neither callable is used for a cached set.

    Raises:
        DataError: the cache cannot be written; or as `decode` does.
    """
    key = hashlib.sha256(f"{identity}\0Pillow {PIL.__version__}".encode()).hexdigest()[:32]

    def batches() -> Iterator[Batch]:
        log.info("decoding images into the cache")
        workers = min(usable_cores(), _MAX_THREADS) if threads else 1
        source = iter(items())
        with ThreadPoolExecutor(workers, thread_name_prefix="decode") as pool:
            while batch := list(islice(source, _BATCH)):
                images, labels = zip(*pool.map(decode, batch), strict=True)
                yield torch.stack(images), torch.tensor(labels)

    return load_or_build(key, batches, classes=classes)
