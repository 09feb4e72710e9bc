"""Databases on a server: how they are reached, and one driver at a time."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from cmt_search.errors import RunError
from cmt_search.search.refusals import refusal

_PATIENCE = 10  # seconds for a connection; some systems wait for minutes
_TIMED = ("psycopg", "psycopg2", "pymysql", "mysqldb")  # drivers that know `connect_timeout`
_LONGEST = 31_536_000  # seconds that MySQL lets a connection idle, at most


def engine_options(url: str) -> dict[str, Any]:
    """How SQLAlchemy reaches the database of a URL.

    A server ends connections that idle through a long training: they are tried before use.
    """
    if not _served(url):
        return {}
    timed = make_url(url).get_driver_name() in _TIMED
    return {
        "pool_pre_ping": True,
        **({"connect_args": {"connect_timeout": _PATIENCE}} if timed else {}),
    }


@contextmanager
def only_driver(url: str, *, run_id: str) -> Iterator[None]:
    """Be the run's only driver on its server, from whichever machine; it ends with the process.

    The lock of a run's folder knows one machine's disk; a copy of the folder has a lock of its own.

    Raises:
        RunError: another process drives the run, or the server cannot be reached.
    """
    if not _served(url) or make_url(url).get_backend_name() not in _LOCKS:
        yield
        return
    try:
        engine = sqlalchemy.create_engine(url, **engine_options(url))
        connection = engine.connect().execution_options(isolation_level="AUTOCOMMIT")
    except (SQLAlchemyError, ImportError) as error:
        raise refusal(error, url=url, doing="opened") from error
    try:
        if not _LOCKS[engine.dialect.name](connection, run_id):
            raise RunError(
                "the run's study is driven by another process, perhaps from a copy of its folder "
                "on another machine; wait for that process, or end it first"
            )
        yield
    finally:
        connection.close()
        engine.dispose()


def _postgres(connection: sqlalchemy.Connection, run_id: str) -> bool:
    for name, seconds in (("idle", 60), ("interval", 30)):  # a machine that is gone lets go soon
        connection.execute(sqlalchemy.text(f"set tcp_keepalives_{name} = {seconds}"))
    digest = hashlib.sha256(run_id.encode()).digest()
    key = int.from_bytes(digest[:8], "big", signed=True)
    asked = sqlalchemy.text("select pg_try_advisory_lock(:key)")
    return bool(connection.execute(asked, {"key": key}).scalar())


def _mysql(connection: sqlalchemy.Connection, run_id: str) -> bool:
    connection.execute(sqlalchemy.text(f"set session wait_timeout = {_LONGEST}"))
    asked = sqlalchemy.text("select get_lock(:name, 0)")
    return connection.execute(asked, {"name": f"cmt_search {run_id}"}).scalar() == 1


_LOCKS = {"postgresql": _postgres, "mysql": _mysql, "mariadb": _mysql}


def _served(url: str) -> bool:
    try:
        return make_url(url).get_backend_name() != "sqlite"
    except ArgumentError:
        return False  # refused in words where the study is opened
