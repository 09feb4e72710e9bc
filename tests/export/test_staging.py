"""What a killed export leaves behind goes with the next one."""

import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cmt_search.export.staging import publish

LONG_AGO = time.time() - 3600


def left(folder: Path, name: str) -> Path:
    """What lies there after a kill."""
    found = folder / name
    (found / "deep").mkdir(parents=True)
    (found / "deep" / "big.bin").write_text("x")
    os.utime(found, (LONG_AGO, LONG_AGO))
    return found


def one(staged: Path) -> None:
    (staged / "a.txt").write_text("a")


@pytest.fixture
def held(tmp_path: Path) -> Iterator[Path]:
    """What a process that lives is writing."""
    folder = left(tmp_path, ".export-alive")
    lock = os.open(folder, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    yield folder
    os.close(lock)


def test_folders_of_processes_that_are_gone_are_swept_away(tmp_path: Path, held: Path) -> None:
    gone = left(tmp_path, ".export-gone")
    young = left(tmp_path, ".export-young")
    os.utime(young)
    publish(["a.txt"], folder=tmp_path, force=False, write=one)
    assert (tmp_path / "a.txt").read_text() == "a"
    assert not gone.exists()
    assert (held / "deep" / "big.bin").exists()
    assert young.exists()


def test_a_folder_is_held_while_it_is_written(tmp_path: Path) -> None:
    def write(staged: Path) -> None:
        os.utime(staged, (LONG_AGO, LONG_AGO))
        publish(["b.txt"], folder=tmp_path, force=False, write=lambda _: None)  # sweeps
        one(staged)

    publish(["a.txt"], folder=tmp_path, force=False, write=write)
    assert (tmp_path / "a.txt").read_text() == "a"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_a_link_of_that_name_is_not_followed(tmp_path: Path) -> None:
    precious = left(tmp_path / "elsewhere", "precious")
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / ".export-link").symlink_to(precious)
    publish(["a.txt"], folder=tmp_path / "here", force=False, write=one)
    assert (precious / "deep" / "big.bin").exists()
