"""Sets of decoded images on disk: complete or absent, built once, shared, limited in size."""

import contextlib
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
import torch

from cmt_search.errors import DataError
from cmt_search.proxy.cache import cache_folder, load_or_build
from cmt_search.proxy.data import Batch, ImageSet

_FORK = multiprocessing.get_context("fork")
IMAGE_BYTES = 3 * 4 * 4


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CMT_SEARCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("CMT_SEARCH_CACHE_GB", raising=False)
    return tmp_path / "cache"


def _batches(value: int = 7, *, images: int = 50) -> Iterator[Batch]:
    for start in range(0, images, 20):
        count = min(20, images - start)
        batch = torch.full((count, 3, 4, 4), value, dtype=torch.uint8)
        yield batch, torch.arange(start, start + count)


def _load(key: str, batches: Callable[[], Iterator[Batch]] = _batches) -> ImageSet:
    images, classes = load_or_build(key, batches, classes=("cat", "dog"))
    assert classes == ("cat", "dog")
    return images


def _never() -> Iterator[Batch]:
    raise AssertionError("the set was there")


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.suffix != ".lock"}


def _slow_batches(pipe: Connection) -> Iterator[Batch]:
    pipe.send("building")
    for value in range(5):
        time.sleep(0.05)
        yield torch.full((10, 3, 4, 4), value, dtype=torch.uint8), torch.arange(10)


def _use(key: str, pipe: Connection) -> None:
    """Load a set in another process, building it slowly."""
    cached = _load(key, partial(_slow_batches, pipe))
    pipe.send(int(cached.images.sum()))


def _start(key: str) -> tuple[BaseProcess, Connection]:
    """Start another process. It is forked: a new one would import torch for seconds."""
    receiver, sender = _FORK.Pipe(duplex=False)
    process = _FORK.Process(target=_use, args=(key, sender), daemon=True)
    process.start()
    sender.close()
    return process, receiver


def _messages(receiver: Connection) -> list[object]:
    messages = []
    with contextlib.suppress(EOFError):
        while receiver.poll(30):
            messages.append(receiver.recv())
    return messages


def test_a_set_is_read_as_it_was_written_and_built_once() -> None:
    for cached in (_load("key"), _load("key", _never)):
        assert cached.images.shape == (50, 3, 4, 4)
        assert cached.images.dtype == torch.uint8
        assert bool((cached.images == 7).all())
        assert cached.labels.tolist() == list(range(50))


def test_classes_without_names_are_numbered() -> None:
    batches = [(torch.zeros(2, 3, 4, 4, dtype=torch.uint8), torch.tensor([2, 0]))]
    assert load_or_build("key", lambda: batches)[1] == ("0", "1", "2")


def test_writing_to_a_loaded_set_does_not_reach_the_disk() -> None:
    _load("key").images.zero_()
    assert bool((_load("key", _never).images == 7).all())


def test_two_processes_that_start_together_build_a_set_once() -> None:
    both = [_start("key") for _ in range(2)]
    messages = [_messages(receiver) for _, receiver in both]
    for process, _ in both:
        process.join(30)
        assert process.exitcode == 0
    total = 10 * IMAGE_BYTES * (1 + 2 + 3 + 4)
    assert sorted(messages, key=len) == [[total], ["building", total]]


@pytest.mark.parametrize("key", ["key", "other"])
def test_what_a_killed_builder_left_is_deleted(folder: Path, key: str) -> None:
    process, receiver = _start("key")
    assert receiver.recv() == "building"
    process.kill()
    process.join(30)
    (partial,) = _names(folder)
    assert partial.startswith(".key.bin.")
    assert len(_load(key).images) == 50
    assert _names(folder) == {f"{key}.bin", f"{key}.json"}


def test_a_builder_that_fails_leaves_nothing(folder: Path) -> None:
    def broken() -> Iterator[Batch]:
        yield from _batches()
        raise DataError("no such image")

    with pytest.raises(DataError, match=r"^no such image$"):
        _load("key", broken)
    assert _names(folder) == set()


@pytest.mark.parametrize("suffix", ["bin", "json"])
@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_an_incomplete_set_is_built_again(folder: Path, suffix: str, damage: str) -> None:
    _load("key")
    path = folder / f"key.{suffix}"
    whole = path.read_bytes()
    path.unlink()
    if damage == "cut":
        path.write_bytes(whole[:-1])
    assert bool((_load("key", partial(_batches, 9)).images == 9).all())
    assert bool((_load("key", _never).images == 9).all())


def test_the_least_recently_used_sets_are_deleted_above_the_limit(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = 50 * IMAGE_BYTES
    monkeypatch.setenv("CMT_SEARCH_CACHE_GB", str(3.5 * size / 1e9))  # room for three
    for age, key in enumerate(("a", "b", "c")):
        _load(key)
        os.utime(folder / f"{key}.bin", ns=(age, age))
    _load("a", _never)
    _load("d")
    assert {name.split(".")[0] for name in _names(folder)} == {"a", "c", "d"}


def test_a_deleted_set_stays_readable_where_it_is_mapped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CMT_SEARCH_CACHE_GB", "0")
    mapped = _load("mapped")
    _load("other")
    assert len(_load("mapped", partial(_batches, 9)).images) == 50  # it was deleted
    assert bool((mapped.images == 7).all())


def test_a_folder_that_cannot_be_written_is_answered_with_the_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CMT_SEARCH_CACHE", str(tmp_path / "file"))
    with pytest.raises(DataError, match=r"image cache .*/file .* set CMT_SEARCH_CACHE to another"):
        _load("key")


def test_the_environment_names_folder_and_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CMT_SEARCH_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "cmt_search"
    monkeypatch.setenv("CMT_SEARCH_CACHE_GB", "much")
    with pytest.raises(DataError, match=r"CMT_SEARCH_CACHE_GB='much'.*gigabytes"):
        _load("key")
