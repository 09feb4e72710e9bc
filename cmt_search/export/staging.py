"""Writing beside the target first, and moving into place what proved right."""

import filecmp
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from cmt_search.errors import ExportError


def publish(
    files: Sequence[str], *, folder: Path, force: bool, write: Callable[[Path], None]
) -> None:
    """Let `write` fill an empty folder, check there what it wrote, and move that into `folder`.

    `files` are all names, relative to the folder, that this kind of export may write. Of those
    lying there, one that stays as it is does not count as overwritten; `force` replaces others,
    and removes what the new export has none of.

    Raises:
        ExportError: a file holds something else, or nothing can be written there.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".export-", dir=folder) as name:
            staged = Path(name)
            write(staged)
            if not force:
                _refuse_overwriting(files, staged=staged, folder=folder)
            _move(files, staged=staged, folder=folder)
    except OSError as error:
        raise ExportError(f"{folder} cannot be written ({error}); choose another folder") from error


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
