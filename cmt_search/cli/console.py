"""What a command prints: tables and lines for people, JSON for programs."""

import json
import shlex
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cmt_search.arch import Arch

INTERRUPTED = 130  # exit code
_QUIET: ContextVar[bool] = ContextVar("quiet", default=False)


@contextmanager
def quietly(quiet: bool) -> Iterator[None]:
    """Within, nothing is printed but results, and those bare."""
    token = _QUIET.set(quiet)
    try:
        yield
    finally:
        _QUIET.reset(token)


def is_quiet() -> bool:
    """Whether only results are printed."""
    return _QUIET.get()


def say(text: str = "", *, result: bool = False) -> None:
    """One line for people, unwrapped, so that paths can be copied; a `result` with --quiet, too."""
    if result or not is_quiet():
        from rich.console import Console

        Console(soft_wrap=True, highlight=False, markup=False).print(text)


def say_paths(paths: Iterable[object]) -> None:
    """The files that a command made, which are all that it prints with --quiet."""
    if is_quiet():
        for path in paths:
            say(str(path), result=True)


def show_table(rows: Iterable[Mapping[str, object]], *, title: str, result: bool = False) -> None:
    """Rows as a table; the first row's keys are the columns.

    With --quiet only a table that is the `result`: a line per row, with tabs between the cells.
    """
    rows = list(rows)
    if not rows:
        return
    if is_quiet():
        for row in rows if result else ():
            sys.stdout.write("\t".join(str(cell) for cell in row.values()) + "\n")
        return
    from rich.console import Console
    from rich.table import Table

    # A pipe has no width of its own: wide enough that nothing is cut.
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 150)
    table = Table(title=title, title_justify="left", title_style="bold")
    for name in rows[0]:
        table.add_column(str(name))
    for row in rows:
        table.add_row(*(str(cell) for cell in row.values()))
    console.print(table)


def command(*words: object) -> str:
    """A command of ours that a shell takes as it stands, whatever the names of files are."""
    return shlex.join(("cmt-search", *(_safe(word) for word in words)))


def _safe(word: object) -> str:
    """A path that begins with a dash would be taken for an option."""
    return f"./{word}" if isinstance(word, Path) and str(word).startswith("-") else str(word)


def sizes_text(arch: "Arch") -> str:
    """A network in a cell: pixels, channels of the first stage, blocks by stage."""
    depths = "-".join(str(stage.depth) for stage in arch.stages)
    return f"{arch.resolution} px, w {arch.stages[0].width}, d {depths}"


def print_json(data: Mapping[str, Any]) -> None:
    """The result of a command, alone on standard output."""
    sys.stdout.write(json.dumps(data, indent=2, allow_nan=False) + "\n")


@contextmanager
def warnings_as_notes() -> Iterator[None]:
    """Within, print warnings as one line each on standard error."""

    def show(message: Warning | str, *_: object, **__: object) -> None:
        sys.stderr.write(f"note: {message}\n")

    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = show
        yield
