import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cmt_search.errors import RunError
from cmt_search.search import RunDir
from cmt_search.search.run_dir import mask_passwords

HOLD = """
import sys, time
from pathlib import Path
from cmt_search.search import RunDir
with RunDir.open(Path(sys.argv[1])).lock():
    print("held", flush=True)
    time.sleep(60)
"""


def new(path: Path, storage: str | None = None) -> RunDir:
    return RunDir.create(
        path,
        space_yaml="kind: rule  # mine\n",
        fingerprint="f00d",
        command=("cmt-search", "run", "--storage", "postgresql://me:secret@host/db"),
        storage=storage,
    )


@contextmanager
def held(run: RunDir) -> Iterator[int]:
    """Another process that drives the run, until it is killed."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(run.path)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process.pid
        process.kill()


def test_a_run_keeps_its_space_and_what_made_it(tmp_path: Path) -> None:
    run = new(tmp_path / "r")
    assert run.space.read_text() == "kind: rule  # mine\n"
    info = RunDir.open(run.path).info()
    assert info.name == "r"
    assert info.fingerprint == "f00d"
    assert {"python", "optuna", "ray", "torch"} <= set(info.versions)
    assert info.hardware["cores"] >= 1
    assert json.loads(run.info_file.read_text())["command"][:2] == ["cmt-search", "run"]


def test_a_password_is_never_written(tmp_path: Path) -> None:
    run = new(tmp_path / "r", storage="postgresql://me:secret@host/db")
    assert "secret" not in run.info_file.read_text()
    assert run.info().storage == "postgresql://me:***@host/db"


@pytest.mark.parametrize(
    ("url", "masked"),
    [
        ("postgresql://me:s3cret@host/db", "postgresql://me:***@host/db"),
        ("postgresql://me:s3cret word@host/db", "postgresql://me:***@host/db"),
        ("postgresql://me:s3c@ret @s3cret@host/db", "postgresql://me:***@host/db"),
        ("--storage=mysql+pymysql://me:s3cret@host", "--storage=mysql+pymysql://me:***@host"),
        ("mysql://host/db?password=s3cret", "mysql://host/db?password=***"),
        ("postgresql:/me:s3cret@host/db", "postgresql:***"),
        ("mlflow=https://me:s3cret@host", "mlflow=https:***"),
        ("postgresql://me@host/db", "postgresql://me@host/db"),
        ("sqlite:///study.db", "sqlite:///study.db"),
        ("runs/a", "runs/a"),
    ],
)
def test_passwords_are_masked(url: str, masked: str) -> None:
    assert mask_passwords(url) == masked


def test_a_run_file_whose_storage_is_no_text_is_refused(tmp_path: Path) -> None:
    run = new(tmp_path / "r")
    run.info_file.write_text(json.dumps({**json.loads(run.info_file.read_text()), "storage": 5}))
    with pytest.raises(RunError, match=r"run.json cannot be read"):
        run.storage_url()


def test_a_folder_holds_one_run(tmp_path: Path) -> None:
    run = new(tmp_path / "r")
    with pytest.raises(RunError) as error:
        new(run.path)
    assert str(error.value) == (
        f"{run.path} already holds a run; continue it with `cmt-search resume {run.path}`, "
        "or give the new one another --name"
    )


def test_a_folder_that_was_left_half_made_can_be_used(tmp_path: Path) -> None:
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "space.yaml").write_text("half")
    assert new(tmp_path / "r").space.read_text() == "kind: rule  # mine\n"


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"holds no run \(no run.json\); start one with"):
        RunDir.open(tmp_path)


def test_a_run_file_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    run = new(tmp_path / "r")
    run.info_file.write_text(run.info_file.read_text()[:40])
    with pytest.raises(RunError, match=r"run.json cannot be read .*; restore it from a copy"):
        run.info()


def test_a_place_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match=r"cannot be written \(.*\); choose another folder"):
        new(tmp_path / "file" / "r")


def test_a_changed_space_is_refused(tmp_path: Path) -> None:
    run = new(tmp_path / "r")
    run.check("f00d")
    with pytest.raises(RunError) as error:
        run.check("beef")
    assert "fingerprint f00d, this one has beef" in str(error.value)
    assert "restore space.yaml, or start a new run with another --name" in str(error.value)


def test_a_second_driver_is_refused_by_name(tmp_path: Path) -> None:
    run = new(tmp_path / "r")
    with held(run) as pid:
        driver = run.driver()
        assert driver is not None
        assert driver.pid == pid
        with pytest.raises(RunError) as error, run.lock():
            pytest.fail("two drivers")
    message = str(error.value)
    assert message.startswith(f"{run.path} is driven by process {pid} on {driver.host} since 20")
    assert message.endswith(
        f"; wait for it, watch it with `cmt-search status {run.path}`, or stop it with Ctrl-C "
        "(or kill) first"
    )


def test_a_killed_driver_leaves_no_lock(tmp_path: Path) -> None:
    run = new(tmp_path / "r")
    with held(run):
        assert run.driver() is not None
    assert run.driver() is None
    with run.lock():
        driver = run.driver()
        assert driver is not None
        assert driver.pid == os.getpid()
    assert run.driver() is None


def test_the_study_is_in_the_folder_unless_a_storage_is_named(tmp_path: Path) -> None:
    run = new(tmp_path / "r")
    assert run.storage_url() == f"sqlite:///{tmp_path}/r/study.db"
    with pytest.raises(RunError, match=r"keeps its study in study.db; leave --storage away"):
        run.storage_url("sqlite:///elsewhere.db")


def test_a_storage_with_a_password_is_asked_for_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = "postgresql://me:secret@host/db"
    run = new(tmp_path / "r", storage=url)
    monkeypatch.delenv("CMT_SEARCH_STORAGE", raising=False)
    with pytest.raises(RunError, match=r"password is not written down; give the whole URL by"):
        run.storage_url()
    assert run.storage_url(url) == url
    with pytest.raises(RunError, match=r"keeps its study in postgresql://me:\*\*\*@host/db, not"):
        run.storage_url("postgresql://me:secret@other/db")
    monkeypatch.setenv("CMT_SEARCH_STORAGE", url)
    assert run.storage_url() == url


def test_importing_the_search_layer_imports_nothing_heavy() -> None:
    code = (
        "import sys, cmt_search.search; "
        "print([m for m in ('optuna', 'ray', 'torch', 'pandas', 'sqlalchemy') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"
