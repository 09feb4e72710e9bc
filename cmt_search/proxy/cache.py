"""Decoded images on disk: written once per machine, then memory-mapped by every process.

A set is KEY.bin (images) and KEY.json (their shape, labels and classes). The JSON file is written
last, so a set that has one is complete. One process at a time builds a set, under a file lock.
"""

import json
import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock, Timeout

from cmt_search.errors import DataError
from cmt_search.io import atomic_path, atomic_write
from cmt_search.proxy.data import Batch, Decoded, ImageSet

FOLDER_VARIABLE = "CMT_SEARCH_CACHE"  # default: cmt_search in the user's cache folder
LIMIT_VARIABLE = "CMT_SEARCH_CACHE_GB"  # size above which the least recently used sets are deleted
_DEFAULT_LIMIT_GB = "50"


def load_or_build(
    key: str, batches: Callable[[], Iterable[Batch]], *, classes: Sequence[str] = ()
) -> Decoded:
    """Open the set of this key; if there is none, write `batches` first.

    Classes without names are numbered.

    Raises:
        DataError: the folder cannot be written or is full, or an environment variable is invalid.
    """
    folder, limit = cache_folder(), cache_limit()
    images = folder / f"{key}.bin"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(images.with_suffix(".lock")):
            if (decoded := _open(images)) is None:
                _build(images, batches(), classes)
                decoded = _open(images)
            os.utime(images)
        _evict(folder, limit=limit, keep=images)
    except OSError as error:
        raise DataError(
            f"the image cache {folder} cannot be used ({error}); free some space there, "
            f"or set {FOLDER_VARIABLE} to another folder"
        ) from error
    assert decoded is not None, "the set was just written"
    return decoded


def cache_folder() -> Path:
    """Return the folder that the environment names."""
    user = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cmt_search"
    return Path(os.environ.get(FOLDER_VARIABLE) or user)


def cache_limit() -> int:
    """Return the limit of the environment. Units: bytes.

    Raises:
        DataError: it is not a number.
    """
    text = os.environ.get(LIMIT_VARIABLE, _DEFAULT_LIMIT_GB)
    try:
        return int(float(text) * 1e9)
    except (ValueError, OverflowError):
        raise DataError(
            f"{LIMIT_VARIABLE}={text!r} is not a number; give gigabytes, such as 50"
        ) from None


def _build(path: Path, batches: Iterable[Batch], classes: Sequence[str]) -> None:
    info = path.with_suffix(".json")
    info.unlink(missing_ok=True)
    shape: list[int] = []
    labels: list[int] = []
    with atomic_path(path) as partial, partial.open("wb") as file:
        for images, of_images in batches:
            file.write(images.contiguous().numpy().data)
            shape = list(images.shape[1:])
            labels += of_images.tolist()
    names = list(classes) or [str(number) for number in range(max(labels) + 1)]
    atomic_write(info, json.dumps({"shape": shape, "classes": names, "labels": labels}))


def _open(path: Path) -> Decoded | None:
    """Map the set, or return None where it is missing or was cut short."""
    try:
        info = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        labels = torch.tensor(info["labels"])
        # Copy on write: nothing reaches the file, and unmodified pages are shared.
        pixels = np.memmap(path, dtype=np.uint8, mode="c")
        images = torch.from_numpy(pixels.reshape(len(labels), *info["shape"]))
        return ImageSet(images=images, labels=labels), tuple(info["classes"])
    except (OSError, ValueError, LookupError, TypeError):
        return None


def _evict(folder: Path, *, limit: int, keep: Path) -> None:
    """Delete the least recently used sets; a process that maps one keeps its pages.

    Files that a killed process left half-written are deleted too: their locks are free.
    """
    with suppress(FileNotFoundError):  # another process evicts the same set
        sets = sorted(folder.glob("*.bin"), key=lambda path: path.stat().st_mtime_ns)
        excess = sum(path.stat().st_size for path in sets) - limit
        obsolete = list(folder.glob("*.partial"))
        for path in sets:
            if excess > 0 and path != keep:
                excess -= path.stat().st_size
                obsolete.append(path)
        for path in obsolete:
            key = path.name.removeprefix(".").partition(".")[0]
            with suppress(Timeout), FileLock(folder / f"{key}.lock", timeout=0):
                if path.suffix == ".bin":
                    path.with_suffix(".json").unlink(missing_ok=True)
                path.unlink(missing_ok=True)
