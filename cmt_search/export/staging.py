"""Write to a temporary folder, check, and move the files into place."""

import fcntl
import filecmp
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from cmt_search.errors import ExportError

_PREFIX = ".export-"
_FRESH = 60.0  # seconds that a folder may exist before its process holds it


def publish(
    files: Sequence[str], *, folder: Path, force: bool, write: Callable[[Path], None]
) -> None:
    """Let `write` fill an empty folder, check there what it wrote, and move that into `folder`.

    `files` are all names, relative to the folder, that this kind of export may write. Of those
    lying there, one that stays as it is does not count as overwritten; `force` replaces others,
    and removes what the new export has none of. What a killed export left there is swept away.

    Raises:
        ExportError: a file holds something else, or nothing can be written there.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _sweep(folder)
        with _staged(folder) as staged:
            write(staged)
            if not force:
                _refuse_overwriting(files, staged=staged, folder=folder)
            _move(files, staged=staged, folder=folder)
    except OSError as error:
        raise ExportError(f"{folder} cannot be written ({error}); choose another folder") from error


@contextmanager
def _staged(folder: Path) -> Iterator[Path]:
    """An empty folder that is locked for as long as this process lives."""
    with tempfile.TemporaryDirectory(prefix=_PREFIX, dir=folder) as name:
        held = os.open(name, os.O_RDONLY)
        try:
            with suppress(OSError):  # a file system without such locks; then nobody sweeps there
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield Path(name)
        finally:
            os.close(held)


def _sweep(folder: Path) -> None:
    """Remove what was staged by processes that are gone."""
    for left in folder.glob(f"{_PREFIX}*"):
        with suppress(OSError):  # it is locked, so its process lives; or it has just gone
            if time.time() - left.stat().st_mtime < _FRESH:
                continue
            held = os.open(left, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(left, ignore_errors=True)
            finally:
                os.close(held)


def _refuse_overwriting(files: Sequence[str], *, staged: Path, folder: Path) -> None:
    for name in files:
        there, new = folder / name, staged / name
        same = new.is_file() and there.is_file() and filecmp.cmp(new, there, shallow=False)
        if there.exists() and not same:
            raise ExportError(
                f"{there} exists and holds something else; add --force to overwrite it, "
                "or export to another folder"
            )


def _move(files: Sequence[str], *, staged: Path, folder: Path) -> None:
    for name in files:
        there, new = folder / name, staged / name
        if new.exists():
            there.parent.mkdir(parents=True, exist_ok=True)
            new.replace(there)
        else:
            there.unlink(missing_ok=True)  # of an earlier export that had more
