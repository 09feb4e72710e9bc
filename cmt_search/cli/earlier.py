"""Files that a command writes anew, and that somebody may miss: the one before is kept."""

import filecmp
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from cmt_search.errors import RunError


@contextmanager
def aside(path: Path) -> Iterator[Path | None]:
    """Where the file is kept that the block replaces, as NAME.1, .2 and so on.

    None where there was none; nothing is kept of a file that the block leaves as it was.

    Raises:
        RunError: it cannot be kept.
    """
    if not path.is_file():
        yield None
        return
    names = (path.with_name(f"{path.name}.{number}") for number in count(1))
    kept = next(name for name in names if not name.exists())
    try:
        shutil.copy2(path, kept)
    except OSError as error:
        raise RunError(f"{kept} cannot be written ({error}); free {path.parent}") from error
    try:
        yield kept
    finally:
        if path.is_file() and filecmp.cmp(path, kept, shallow=False):
            kept.unlink()
