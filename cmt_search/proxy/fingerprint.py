"""What tells one state of some files from another, so that a changed folder is decoded again."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

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
