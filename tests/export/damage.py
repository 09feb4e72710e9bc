"""Files as disks and careless hands leave them: a bit flipped, or the end cut off."""

import random
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

from cmt_search.errors import ExportError


def damaged(whole: bytes, *, places: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """What happened where, and what is left."""
    draw = random.Random(seed)
    for _ in range(places):
        at, bit = draw.randrange(len(whole)), 1 << draw.randrange(8)
        yield f"bit {bit} of byte {at}", whole[:at] + bytes([whole[at] ^ bit]) + whole[at + 1 :]
    for at in (0, 1, len(whole) - 1, *(draw.randrange(len(whole)) for _ in range(places // 3))):
        yield f"cut to {at}", whole[:at]


def refusals(
    file: Path,
    *,
    read: Callable[[], object],
    same: Callable[[object], bool],
    places: int = 60,
    may_differ: bool = False,
) -> int:
    """How many of the damages are refused by an `ExportError` of one line.

    Each must be, unless the result is the same, or the file is one that people edit.
    """
    whole, refused = file.read_bytes(), 0
    for what, rest in damaged(whole, places=places, seed=len(whole)):
        file.write_bytes(rest)
        try:
            with warnings.catch_warnings(action="ignore"):
                found = read()
        except ExportError as error:
            refused, lines = refused + 1, str(error).splitlines()
        else:
            lines = []
            assert may_differ or same(found), f"{what} goes unnoticed in {file.name}"
        assert len(lines) < 2, f"{what}: more than a paragraph"
    file.write_bytes(whole)
    assert same(read())
    return refused
