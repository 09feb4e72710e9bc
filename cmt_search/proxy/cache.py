"""Decoded images on disk: stored once per machine, read by every trial on it through memory maps.

A set is a folder of three files, made under another name and renamed when it is whole, so a set
that exists is complete. One process at a time builds a set, under a file lock; the others wait and
load it. A lock ends with its process, so what a killed one leaves is swept by the next builder.
"""

import fcntl
import json
import os
import shutil
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Self

import torch
from filelock import FileLock, Timeout
from torch import Tensor

from cmt_search.errors import DataError

FOLDER_VARIABLE = "CMT_SEARCH_CACHE"  # where; by default, cmt_search in the user's cache folder
LIMIT_VARIABLE = "CMT_SEARCH_CACHE_GB"  # how much idle sets may keep there
_LIMIT_GB = 50.0
_FORMAT = 1
_CHECKED = 2**30  # bytes up to which a set is read through and checked whenever it is opened
_CHUNK = 2**24  # bytes checked at a time


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StoredSet:
    """Images of the cache, mapped into memory: pages are read when used, and shared.

    Shape: images (N, C, S, S) uint8, labels (N,) int64.
    """

    images: Tensor
    labels: Tensor
    classes: tuple[str, ...]
    lease: "_Lease"  # while it lives, the set is not evicted


class _Lease:
    """A shared lock on a set, for as long as somebody refers to it."""

    def __init__(self, file: Path) -> None:
        self._handle = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
        fcntl.flock(self._handle, fcntl.LOCK_SH)  # free at once: whoever locks otherwise holds
        # the key's lock meanwhile, and so do we

    def __del__(self) -> None:
        if hasattr(self, "_handle"):
            os.close(self._handle)


@dataclass(slots=True, kw_only=True)
class SetWriter:
    """Takes the images of a set, part by part, in order."""

    file: IO[bytes]
    shape: tuple[int, ...] = ()  # of one image
    labels: list[Tensor] = field(default_factory=list)
    crc: int = 0

    def add(self, images: Tensor, labels: Tensor) -> None:
        """Append some. Shape: images (k, C, S, S) uint8, labels (k,) int64."""
        assert images.dtype == torch.uint8
        assert self.shape in ((), tuple(images.shape[1:]))
        self.shape = tuple(images.shape[1:])
        data = images.contiguous().numpy().data
        self.crc = zlib.crc32(data, self.crc)
        self.file.write(data)
        self.labels.append(labels)


@dataclass(frozen=True, slots=True, kw_only=True)
class SetCache:
    """A folder of image sets, of which the least recently used make room for new ones.

    A set in use is never evicted, so a search that needs more than the limit still runs.
    """

    folder: Path
    limit: int  # bytes

    @classmethod
    def default(cls) -> Self:
        """The one that the environment names.

        Raises:
            DataError: the limit is no number.
        """
        user = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cmt_search"
        folder = os.environ.get(FOLDER_VARIABLE)
        limit = os.environ.get(LIMIT_VARIABLE, str(_LIMIT_GB))
        try:
            limit_bytes = int(float(limit) * 1e9)
        except (ValueError, OverflowError):
            raise DataError(
                f"{LIMIT_VARIABLE}={limit!r} is no number; give gigabytes, such as 50"
            ) from None
        return cls(folder=Path(folder) if folder else user, limit=limit_bytes)

    def load(self, key: str, build: Callable[[SetWriter], tuple[str, ...]]) -> StoredSet:
        """The set of that key; if there is none, `build` writes it and gives its classes.

        Raises:
            DataError: the folder cannot be written, or the disk is full; or what `build` raises.
        """
        home, lock = self.folder / key, self._lock(key)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with lock:  # waits for another process that builds the same set
                found = _open(home)
                if found is not None:
                    os.utime(home / "meta.json")
                    return found
                _build(home, build)
                found = _open(home)
        except OSError as error:
            raise DataError(
                f"the image cache {self.folder} cannot be used ({error}); free some space there, "
                f"or set {FOLDER_VARIABLE} to another folder"
            ) from error
        assert found is not None, "a set just written is whole"
        self._evict()
        return found

    def _lock(self, key: str) -> FileLock:
        return FileLock(self.folder / f"{key}.lock")

    def _evict(self) -> None:
        """Drop idle sets, least recently used first, and what killed builders left."""
        for part in self.folder.glob("*.building"):
            with _held(self._lock(part.stem)) as free:
                if free:
                    shutil.rmtree(part, ignore_errors=True)
        sets = sorted((_used(path), path) for path in self.folder.glob("*/meta.json"))
        total = sum(size for (_, size), _ in sets)
        for (_, size), path in sets:
            if total <= self.limit:
                return
            with _held(self._lock(path.parent.name)) as free:
                if free and _drop_if_idle(path.parent):
                    total -= size


def _build(home: Path, build: Callable[[SetWriter], tuple[str, ...]]) -> None:
    part = home.with_name(f"{home.name}.building")
    for old in (part, home):  # a killed builder's, and one that was found damaged
        if old.exists():
            shutil.rmtree(old)
    part.mkdir()
    try:
        with (part / "images.bin").open("wb") as file:
            writer = SetWriter(file=file)
            classes = build(writer)
            _sync(file)
        labels = torch.cat(writer.labels).long().contiguous()
        with (part / "labels.bin").open("wb") as file:
            file.write(labels.numpy().data)
            _sync(file)
        meta = {
            "format": _FORMAT,
            "shape": [len(labels), *writer.shape],
            "classes": list(classes),
            "crc": zlib.crc32(labels.numpy().data, writer.crc),
        }
        with (part / "meta.json").open("w", encoding="utf-8") as text:
            json.dump(meta, text)
            _sync(text)
        part.rename(home)
    finally:
        shutil.rmtree(part, ignore_errors=True)  # gone already, where all went well


def _open(home: Path) -> StoredSet | None:
    """The set, or None if it is missing or damaged."""
    try:
        lease = _Lease(home / "meta.json")
        meta = json.loads((home / "meta.json").read_text(encoding="utf-8"))
        shape = tuple(meta["shape"])
        images = _mapped(home / "images.bin", shape, dtype=torch.uint8)
        labels = _mapped(home / "labels.bin", shape[:1], dtype=torch.int64)
        classes = tuple(meta["classes"])
        good = meta["format"] == _FORMAT and _is_sound(images, labels, crc=meta["crc"])
    except (OSError, ValueError, LookupError, TypeError, RuntimeError):
        return None
    return StoredSet(images=images, labels=labels, classes=classes, lease=lease) if good else None


def _mapped(path: Path, shape: tuple[int, ...], *, dtype: torch.dtype) -> Tensor:
    """A private map: never written back, and its pages are those of the system's file cache."""
    count = torch.Size(shape).numel()
    if path.stat().st_size != count * dtype.itemsize:
        raise ValueError(f"{path} has another size than its set says")
    return torch.from_file(str(path), shared=False, size=count, dtype=dtype).view(shape)


def _is_sound(images: Tensor, labels: Tensor, *, crc: int) -> bool:
    """Whether the bytes are those once written; large sets are trusted for their sizes."""
    if images.numel() > _CHECKED:
        return True
    seen = 0
    for part in (images.flatten(), labels.view(torch.uint8)):
        for chunk in torch.split(part, _CHUNK):
            seen = zlib.crc32(chunk.numpy().data, seen)
    return seen == crc


def _drop_if_idle(home: Path) -> bool:
    try:
        with (home / "meta.json").open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(home)
    except OSError:  # in use, or gone
        return False
    return True


def _used(meta: Path) -> tuple[int, int]:
    """When a set was last used, and its bytes."""
    try:
        size = sum(file.stat().st_size for file in meta.parent.iterdir())
        return meta.stat().st_mtime_ns, size
    except FileNotFoundError:  # another process evicts it
        return 0, 0


@contextmanager
def _held(lock: FileLock) -> Iterator[bool]:
    """The lock, if no other process has it."""
    try:
        lock.acquire(timeout=0)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def _sync(file: IO[bytes] | IO[str]) -> None:
    file.flush()
    os.fsync(file.fileno())
