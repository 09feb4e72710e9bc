"""Decoded images on disk: written once per machine, then memory-mapped by every process.

A set is KEY.bin (images, then labels) and KEY.json (shape, classes). The JSON file is written
last, so a set that has one is complete. One process at a time builds a set, under a file lock.
"""

import json
import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock, Timeout
from torch import Tensor

from cmt_search.errors import DataError
from cmt_search.io import atomic_path, atomic_write
from cmt_search.proxy.data import Batch, ImageSet

FOLDER_VARIABLE = "CMT_SEARCH_CACHE"  # default: cmt_search in the user's cache folder
LIMIT_VARIABLE = "CMT_SEARCH_CACHE_GB"  # size above which the least recently used sets are deleted
_DEFAULT_LIMIT_GB = "50"
_LABEL_BYTES = 8


Classes = tuple[str, ...]  # their names, in order of the labels
Decoded = tuple[ImageSet, Classes]


def load_or_build(
    key: str,
    batches: Callable[[], Iterable[Batch]],
    *,
    classes: Callable[[Tensor], tuple[str, ...]],
) -> Decoded:
    """Open the set of this key; if there is none, write `batches` first.

    `classes` maps all labels to the names of the classes. Neither callable is used for a set that
    exists.

    Raises:
        DataError: the folder cannot be written or is full, or an environment variable is invalid.
    """
    folder, limit = cache_folder(), cache_limit()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / f"{key}.lock"):
            if (cached := _open(folder, key)) is None:
                _build(folder, key, batches(), classes)
                cached = _open(folder, key)
            os.utime(folder / f"{key}.bin")
        with suppress(FileNotFoundError):  # another process evicts the same set
            _evict(folder, limit=limit, keep=key)
    except OSError as error:
        raise DataError(
            f"the image cache {folder} cannot be used ({error}); free some space there, "
            f"or set {FOLDER_VARIABLE} to another folder"
        ) from error
    assert cached is not None, "the set was just written"
    return cached


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


def _build(
    folder: Path, key: str, batches: Iterable[Batch], classes: Callable[[Tensor], Classes]
) -> None:
    info = folder / f"{key}.json"
    info.unlink(missing_ok=True)
    shape: list[int] = []
    parts: list[Tensor] = []
    with atomic_path(folder / f"{key}.bin") as partial, partial.open("wb") as file:
        for images, labels in batches:
            file.write(images.contiguous().numpy().data)
            shape = list(images.shape[1:])
            parts.append(labels.long())
        all_labels = torch.cat(parts)
        file.write(all_labels.numpy().data)
    content = {"shape": [len(all_labels), *shape], "classes": list(classes(all_labels))}
    atomic_write(info, json.dumps(content))


def _open(folder: Path, key: str) -> Decoded | None:
    """Map the set, or return None where it is missing or was cut short."""
    data = folder / f"{key}.bin"
    try:
        info = json.loads((folder / f"{key}.json").read_text(encoding="utf-8"))
        shape, classes = tuple(info["shape"]), tuple(info["classes"])
        size = torch.Size(shape).numel()
        if data.stat().st_size != size + _LABEL_BYTES * shape[0]:
            return None
        # Copy on write: nothing reaches the file, and unmodified pages are shared.
        images = np.memmap(data, dtype=np.uint8, mode="c", shape=shape)
        labels = np.fromfile(data, dtype=np.int64, offset=size)
    except (OSError, ValueError, LookupError, TypeError):
        return None
    return ImageSet(images=torch.from_numpy(images), labels=torch.from_numpy(labels)), classes


def _evict(folder: Path, *, limit: int, keep: str) -> None:
    """Delete the least recently used sets; a process that maps one keeps its pages.

    Files that a killed process left half-written are deleted too: their locks are free.
    """
    sets = sorted(folder.glob("*.bin"), key=lambda path: path.stat().st_mtime_ns)
    excess = sum(path.stat().st_size for path in sets) - limit
    obsolete = list(folder.glob("*.partial"))
    for path in sets:
        if excess > 0 and path.stem != keep:
            excess -= path.stat().st_size
            obsolete.append(path)
    for path in obsolete:
        key = path.name.removeprefix(".").partition(".")[0]
        with suppress(Timeout), FileLock(folder / f"{key}.lock", timeout=0):
            if path.suffix == ".bin":
                path.with_suffix(".json").unlink(missing_ok=True)
            path.unlink(missing_ok=True)
