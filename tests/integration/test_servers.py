"""Studies on servers: PostgreSQL and MariaDB are started here where they are installed."""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy

from cmt_search.cli import invoke
from cmt_search.errors import RunError
from cmt_search.search import RunDir, read_trials, run_search
from cmt_search.search.run_dir import STORAGE_VARIABLE
from tests.cli.test_interrupted import SPACE as FREE
from tests.cli.test_mistakes import grows
from tests.integration.test_kill_and_resume import (
    kill,
    measured,
    start,
    trainings,
    wait_for_jobs,
)
from tests.search.drive import SPACE
from tests.search.lookup import LookupFactory

PASSWORD = "s3cret/word"
_QUOTED = "s3cret%2Fword"
_USER = "nobody" if os.geteuid() == 0 else None  # servers refuse to be run by root


@dataclass(frozen=True, kw_only=True)
class Server:
    """One that answers at a URL, whose database holds nothing at first."""

    url: str


def found(*names: str) -> str | None:
    """The first of these programs; Debian keeps PostgreSQL's out of the way."""
    folders = [*Path("/usr/lib/postgresql").glob("*/bin"), Path("/usr/sbin")]
    path = os.pathsep.join((os.environ.get("PATH", ""), *map(str, sorted(folders, reverse=True))))
    return next((there for name in names if (there := shutil.which(name, path=path))), None)


def call(*command: object) -> None:
    done = subprocess.run(
        [str(word) for word in command], user=_USER, cwd="/", capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def free_port() -> int:
    with socket.socket() as asked:
        asked.bind(("127.0.0.1", 0))
        return int(asked.getsockname()[1])


def started(command: Sequence[object], *, url: str) -> Iterator[Server]:
    """The server, once it answers, for as long as it is needed."""
    process = subprocess.Popen(
        [str(word) for word in command],
        user=_USER,
        cwd="/",
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        engine, deadline = sqlalchemy.create_engine(url), time.monotonic() + 60
        while True:
            try:
                engine.connect().close()
                break
            except sqlalchemy.exc.OperationalError:
                assert process.poll() is None, "the server ended"
                assert time.monotonic() < deadline, "the server does not answer"
                time.sleep(0.1)
        engine.dispose()
        yield Server(url=url)
    finally:
        process.terminate()
        process.wait(30)


def postgres(home: Path) -> Iterator[Server]:
    initdb, program = found("initdb"), found("postgres")
    if initdb is None or program is None:
        pytest.skip("PostgreSQL is not installed")
    pytest.importorskip("psycopg")
    data, secret, port = home / "data", home / "password", free_port()
    secret.write_text(PASSWORD)
    options = ("--auth=scram-sha-256", "--no-sync", "--encoding=UTF8", "--locale=C")
    call(initdb, "-D", data, "-U", "cmt", f"--pwfile={secret}", *options)
    command = [program, "-D", data, "-k", home, "-p", port, "-c", "listen_addresses=127.0.0.1"]
    url = f"postgresql+psycopg://cmt:{_QUOTED}@127.0.0.1:{port}/postgres"
    yield from started([*command, "-c", "fsync=off"], url=url)


def mariadb(home: Path) -> Iterator[Server]:
    install, program = found("mariadb-install-db", "mysql_install_db"), found("mariadbd", "mysqld")
    if install is None or program is None:
        pytest.skip("MariaDB is not installed")
    pytest.importorskip("pymysql")
    data, first, port = home / "data", home / "first.sql", free_port()
    call(install, "--no-defaults", f"--datadir={data}", "--skip-test-db")
    first.write_text(
        "create database studies;\n"
        f"create user cmt@127.0.0.1 identified by '{PASSWORD}';\n"
        "grant all on studies.* to cmt@127.0.0.1;\n"
    )
    url = f"mysql+pymysql://cmt:{_QUOTED}@127.0.0.1:{port}/studies"
    command = [program, "--no-defaults", f"--datadir={data}", f"--socket={home}/socket"]
    command += [f"--port={port}", "--bind-address=127.0.0.1", f"--init-file={first}"]
    quick = ("--skip-name-resolve", "--innodb-flush-log-at-trx-commit=0")
    yield from started([*command, *quick], url=url)


@pytest.fixture(scope="module", params=[postgres, mariadb], ids=lambda start: start.__name__)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    start_one: Callable[[Path], Iterator[Server]] = request.param
    home = Path(tempfile.mkdtemp(prefix="cmt-server-"))  # pytest's own folders are its user's
    if _USER is not None:
        shutil.chown(home, _USER)
    try:
        yield from start_one(home)
    finally:
        shutil.rmtree(home, ignore_errors=True)


def test_a_killed_driver_is_gone_on_with_and_a_second_one_is_refused(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import cmt_search.search.scheduler  # noqa: F401  # takes seconds, in which a driver would finish

    monkeypatch.setenv(STORAGE_VARIABLE, server.url)
    folder, copy, log = tmp_path / "killed", tmp_path / "copy" / "killed", tmp_path / "log"
    run = RunDir.create(folder, space_yaml="", fingerprint=SPACE.fingerprint, storage=server.url)
    driver = start(folder, "inline", log, wait=1.0)
    try:
        wait_for_jobs(driver, log, jobs=2)
        with pytest.raises(RunError, match=r"killed is driven by process \d+"):
            run_search(run, SPACE, LookupFactory(), executor="inline")
        shutil.copytree(folder, copy)  # whose lock nobody holds
        with pytest.raises(RunError, match="another process drives this run"):
            run_search(RunDir.open(copy), SPACE, LookupFactory(), executor="inline")
    finally:
        kill(driver)
    before = read_trials(folder)
    assert len(trainings(before)) >= 1
    assert "interrupted" in {trial.state for trial in before}
    outcome = run_search(run, SPACE, LookupFactory(), executor="inline")
    assert (outcome.stopped, outcome.complete) == ("finished", SPACE.trials)
    assert measured(before).items() <= measured(read_trials(folder)).items()


def test_a_run_begins_where_the_variable_says_and_every_command_reads_it_there(
    server: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("cmt_search.cli.wiring.factory_of", lambda space, *, device: lambda: grows)
    monkeypatch.setenv(STORAGE_VARIABLE, server.url)
    file, run = tmp_path / "space.yaml", str(tmp_path / "team")
    file.write_text(FREE)
    launch = ["--runs", str(tmp_path), "--name", "team", "--executor", "inline"]
    assert invoke(["run", str(file), *launch]) == 0
    assert not (tmp_path / "team" / "study.db").exists()
    assert invoke(["report", run]) == 0
    assert invoke(["runs", str(tmp_path)]) == 0
    assert "finished" in capsys.readouterr().out
    monkeypatch.delenv(STORAGE_VARIABLE)
    assert invoke(["status", run, "--json", "--storage", server.url]) == 0
    state = json.loads(capsys.readouterr().out)
    assert (state["state"], state["left"]) == ("finished", 0)
    assert invoke(["status", run]) == 2
    assert "its password is not written down; give the whole URL by" in capsys.readouterr().err
    written = [path for path in Path(run).rglob("*") if path.is_file()]
    assert not any(secret in p.read_text() for p in written for secret in (PASSWORD, _QUOTED))


def test_errors_of_a_server_have_a_remedy_and_no_password(server: Server, tmp_path: Path) -> None:
    address = server.url.split("@")[1]
    urls = (
        f"{server.url}x",
        server.url.replace(_QUOTED, "wr0ng"),
        server.url.replace(address, "127.0.0.1:1/postgres"),
    )
    for i, url in enumerate(urls):
        run = RunDir.create(
            tmp_path / str(i), space_yaml="", fingerprint=SPACE.fingerprint, storage=url
        )
        for action in (drive_with, read_with):
            with pytest.raises(RunError, match="check that the server runs") as refused:
                action(run, url)
            assert not any(word in str(refused.value) for word in (PASSWORD, _QUOTED, "wr0ng"))


def drive_with(run: RunDir, url: str) -> None:
    run_search(run, SPACE, LookupFactory(), executor="inline", storage=url)


def read_with(run: RunDir, url: str) -> None:
    read_trials(run.path, storage=url)


@pytest.mark.parametrize("action", [drive_with, read_with])
@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("postgresql+psycopg://a:hid@h/d", r'pip install "psycopg\[binary\]"'),
        ("mysql+pymysql://a:hid@h/d", "pip install pymysql"),
        ("oracel://a:hid@h/d", r"use postgresql\+psycopg://USER:PASSWORD"),
        ("postgres here a:hid", r"use postgresql\+psycopg://USER:PASSWORD"),
    ],
)
def test_a_missing_package_and_a_wrong_url_say_what_to_do(
    url: str, told: str, action: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("psycopg", "pymysql"):
        monkeypatch.setitem(sys.modules, name, None)
    run = RunDir.create(tmp_path / "r", space_yaml="", fingerprint=SPACE.fingerprint, storage=url)
    with pytest.raises(RunError, match=told):
        action(run, url)
