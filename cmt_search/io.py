"""Atomic writes: a file is there whole, or as it was before."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a path in the same folder that replaces `path` when the block ends without an error.

    A link is followed, the mode of an existing file is kept, and file and folder are synced.

    Raises:
        OSError: of the block or the file system; then `path` is as it was.
    """
    target = Path(os.path.realpath(path))
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        yield partial
        if target.exists():
            shutil.copymode(target, partial)
        _sync(partial)
        partial.replace(target)
        with suppress(OSError):  # not every file system syncs folders
            _sync(target.parent)
    finally:
        partial.unlink(missing_ok=True)


def atomic_write(path: Path, content: str | bytes) -> Path:
    """Write a file of text (UTF-8) or bytes.

    Raises:
        OSError: then `path` is as it was.
    """
    data = content.encode("utf-8") if isinstance(content, str) else content
    with atomic_path(path) as partial:
        partial.write_bytes(data)
    return path


def _sync(path: Path) -> None:
    """Flush a file or folder to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
