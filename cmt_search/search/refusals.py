"""A database that refuses, in words: what is wrong with it, and what to do."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import ArgumentError, OperationalError, SQLAlchemyError

from cmt_search.errors import RunError
from cmt_search.search.run_folder import mask_passwords

_URL = (
    "write postgresql+psycopg://USER:PASSWORD@HOST/DATABASE, or "
    "mysql+pymysql://USER:PASSWORD@HOST/DATABASE"
)
_STRANGER = (
    "it does not let this user in; give the URL with user and password by --storage or "
    "$CMT_SEARCH_STORAGE"
)
_NO_DATABASE = (
    "make the database first, as `createdb NAME` or `create database NAME` does, and give this "
    "user the right to it"
)
_NO_SERVER = (
    "no server answers there; check host and port, that the server runs, and that this machine "
    "may reach it"
)
_NO_PACKAGE = (
    "the package that talks to this server is missing; for postgresql+psycopg://, "
    '`pip install "psycopg[binary]"`, for mysql+pymysql://, `pip install pymysql`'
)
_CAUSES = {
    "database or disk is full": "its disk is full; make room there, and resume the run",
    "no space left": "its disk is full; make room there, and resume the run",
    "disk i/o error": "its disk cannot be read or written; look at the disk, and resume the run",
    "readonly database": "it may not be written; give this user the right to, and resume the run",
    "unable to open database file": "its folder may not be written, or is missing",
    "is locked": (
        "another program holds it locked; end that program (an open sqlite3 shell, a copy under "
        "way), and resume the run"
    ),
    "malformed": (
        "it is damaged, and was left as it is; restore it from a copy, or save what can be saved "
        "with `sqlite3 study.db .recover`"
    ),
    "not a database": "it is damaged, and was left as it is; restore it from a copy",
    "can't load plugin": f"there is no such kind of database; {_URL}",
    "could not parse": f"this is no URL of a database; {_URL}",
    "authentication failed": _STRANGER,
    "no password supplied": _STRANGER,
    "to database": _NO_DATABASE,  # as MySQL says of one that is not there, too
    "access denied": _STRANGER,
    "permission denied": "this user may not make tables there; grant it the right to",
    "unknown database": _NO_DATABASE,
    "does not exist": _NO_DATABASE,
    "refused": _NO_SERVER,
    "can't connect": _NO_SERVER,
    "timeout": _NO_SERVER,
    "failed to resolve": _NO_SERVER,
    "could not translate": _NO_SERVER,
    "no such file": _NO_SERVER,
}


def refusal(error: Exception, *, url: str, doing: str) -> RunError:
    """A database's error as one that a user can act upon."""
    told = _innermost(error)
    lines = told.strip().splitlines()
    first = lines[0] if lines else type(error).__name__
    if isinstance(error, ImportError):
        return RunError(f"{mask_passwords(url)} cannot be {doing} ({first}): {_NO_PACKAGE}")
    for sign, cause in _CAUSES.items():
        if sign in told.lower():
            return RunError(f"{mask_passwords(url)} cannot be {doing} ({first}): {cause}")
    return RunError(
        f"{mask_passwords(url)} cannot be {doing} ({first}); check the address, the server and "
        "that it may be written"
    )


def is_damage(error: Exception) -> bool:
    """Whether a file is no database, or no longer a whole one."""
    told = _innermost(error).lower()
    return any(sign in told for sign in ("malformed", "not a database", "disk i/o error"))


def is_unreachable(error: Exception, *, url: str) -> bool:
    """Whether a server, or the package that talks to it, is missing; a file is never."""
    kinds = (OperationalError, ArgumentError, ImportError)
    served = not url.startswith("sqlite")
    return served and any(isinstance(one, kinds) for one in (error, error.__cause__))


@contextmanager
def refused_in_words(url: str, *, doing: str) -> Iterator[None]:
    """Turn what the database raises into a refusal; its transaction is rolled back.

    Raises:
        RunError: the database refused.
    """
    try:
        yield
    except (SQLAlchemyError, StorageInternalError) as error:
        raise refusal(error, url=url, doing=doing) from error


def check_whole(file: Path, *, address: str) -> None:
    """Refuse a damaged SQLite file before anything opens it for writing.

    `address` is a URI of the file for reading only.

    Raises:
        RunError: pages are missing or are no pages.
    """
    if not file.exists() or file.stat().st_size == 0:
        return
    try:
        connection = sqlite3.connect(address, uri=True)
        try:
            found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        finally:
            connection.close()
    except sqlite3.DatabaseError as error:
        raise refusal(error, url=str(file), doing="read") from error
    if found != "ok":
        raise refusal(sqlite3.DatabaseError(f"malformed: {found}"), url=str(file), doing="read")


def _innermost(error: BaseException) -> str:
    """What the database said itself: Optuna and SQLAlchemy wrap it."""
    while error.__cause__ is not None:
        error = error.__cause__
    words = (arg for arg in error.args if isinstance(arg, str))  # MySQL's begin with a number
    return next(words, str(error))
