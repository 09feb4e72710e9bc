"""Sets of images on disk: whole or absent, built once, shared, bounded."""

import contextlib
import multiprocessing
import os
import time
from collections.abc import Callable
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
import torch

from cmt_search.errors import DataError
from cmt_search.proxy.cache import SetCache, SetWriter, StoredSet

GB = 10**9
_FORK = multiprocessing.get_context("fork")


def _builder(value: int = 7, *, images: int = 50) -> Callable[[SetWriter], tuple[str, ...]]:
    def build(writer: SetWriter) -> tuple[str, ...]:
        for start in range(0, images, 20):
            count = min(20, images - start)
            batch = torch.full((count, 3, 4, 4), value, dtype=torch.uint8)
            writer.add(batch, torch.arange(start, start + count))
        return ("cat", "dog")

    return build


def _never(_: SetWriter) -> tuple[str, ...]:
    raise AssertionError("the set was there")


def _cache(folder: Path, *, limit: int = GB) -> SetCache:
    return SetCache(folder=folder, limit=limit)


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.is_dir()}


def _slowly(writer: SetWriter, said: Connection) -> tuple[str, ...]:
    said.send("building")
    for value in range(5):
        time.sleep(0.05)
        writer.add(torch.full((10, 3, 4, 4), value, dtype=torch.uint8), torch.arange(10))
    return ("cat", "dog")


def _use(folder: Path, key: str, said: Connection, hold: float) -> None:
    """What the other process does: load a set, building it slowly, and keep it for a while."""
    found = _cache(folder).load(key, partial(_slowly, said=said))
    said.send(int(found.images.sum()))
    time.sleep(hold)


def _other(folder: Path, key: str, *, hold: float = 0.0) -> tuple[BaseProcess, Connection]:
    """Another process, and what it says. Forked: a fresh one would import torch for seconds."""
    heard, said = _FORK.Pipe(duplex=False)
    process = _FORK.Process(target=_use, args=(folder, key, said, hold), daemon=True)
    process.start()
    said.close()
    return process, heard


def _all(heard: Connection) -> list[object]:
    words = []
    with contextlib.suppress(EOFError):
        while heard.poll(30):
            words.append(heard.recv())
    return words


def test_a_set_comes_back_as_it_was_written_and_is_built_once(tmp_path: Path) -> None:
    first = _cache(tmp_path).load("key", _builder())
    again = _cache(tmp_path).load("key", _never)
    for found in (first, again):
        assert found.images.shape == (50, 3, 4, 4)
        assert found.images.dtype == torch.uint8
        assert bool((found.images == 7).all())
        assert found.labels.tolist() == list(range(50))
        assert found.classes == ("cat", "dog")


def test_writing_to_a_loaded_set_does_not_reach_the_disk(tmp_path: Path) -> None:
    found = _cache(tmp_path).load("key", _builder())
    found.images.zero_()
    assert bool((_cache(tmp_path).load("key", _never).images == 7).all())


def test_two_processes_that_start_together_build_it_once(tmp_path: Path) -> None:
    both = [_other(tmp_path, "key") for _ in range(2)]
    said = [_all(heard) for _, heard in both]
    for process, _ in both:
        process.join(30)
        assert process.exitcode == 0
    total = 10 * 48 * (1 + 2 + 3 + 4)
    assert sorted(said, key=len) == [[total], ["building", total]]


def test_what_a_killed_builder_left_is_swept_and_built_anew(tmp_path: Path) -> None:
    process, heard = _other(tmp_path, "key")
    assert heard.recv() == "building"
    process.kill()
    process.join(30)
    assert _names(tmp_path) == {"key.building"}
    assert len(_cache(tmp_path).load("key", _builder()).images) == 50
    assert _names(tmp_path) == {"key"}


def test_a_builder_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def broken(writer: SetWriter) -> tuple[str, ...]:
        _builder()(writer)
        raise DataError("no such image")

    with pytest.raises(DataError, match=r"^no such image$"):
        _cache(tmp_path).load("key", broken)
    assert _names(tmp_path) == set()


@pytest.mark.parametrize("file", ["images.bin", "labels.bin", "meta.json"])
@pytest.mark.parametrize("damage", ["cut", "changed", "gone"])
def test_a_damaged_set_is_built_anew(tmp_path: Path, file: str, damage: str) -> None:
    _cache(tmp_path).load("key", _builder(7))
    path = tmp_path / "key" / file
    whole = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(whole[:-1] if damage == "cut" else b"\x01" + whole[1:])
    found = _cache(tmp_path).load("key", _builder(9))
    assert bool((found.images == 9).all())
    assert bool((_cache(tmp_path).load("key", _never).images == 9).all())


def test_the_least_recently_used_sets_make_room(tmp_path: Path) -> None:
    size = 50 * 48 + 50 * 8
    cache = _cache(tmp_path, limit=3 * size + 1000)  # room for three, with what describes them
    for age, key in enumerate(("a", "b", "c")):
        cache.load(key, _builder())
        os.utime(tmp_path / key / "meta.json", ns=(age, age))
    cache.load("a", _never)
    cache.load("d", _builder())
    assert _names(tmp_path) == {"a", "c", "d"}


def test_a_set_in_use_is_never_evicted(tmp_path: Path) -> None:
    cache = _cache(tmp_path, limit=0)
    held: StoredSet | None = cache.load("held", _builder())
    cache.load("other", _builder())
    cache.load("third", _builder())
    assert _names(tmp_path) == {"held", "third"}  # a set is held by who has just loaded it
    assert held is not None
    assert bool((held.images == 7).all())
    held = None
    cache.load("fourth", _builder())
    assert _names(tmp_path) == {"fourth"}


def test_a_set_that_another_process_uses_is_not_evicted(tmp_path: Path) -> None:
    user, heard = _other(tmp_path, "held", hold=60.0)
    assert heard.recv() == "building"
    assert isinstance(heard.recv(), int)
    cache = _cache(tmp_path, limit=0)
    cache.load("other", _builder())
    assert "held" in _names(tmp_path)
    user.kill()
    user.join(30)
    cache.load("third", _builder())
    assert _names(tmp_path) == {"third"}


def test_a_folder_that_cannot_be_written_is_answered_with_the_variable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    message = r"the image cache .*/file cannot be used .* set CMT_SEARCH_CACHE to another folder"
    with pytest.raises(DataError, match=message):
        _cache(tmp_path / "file").load("key", _builder())


def test_the_environment_says_where_the_cache_is_and_how_large(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CMT_SEARCH_CACHE", str(tmp_path))
    monkeypatch.setenv("CMT_SEARCH_CACHE_GB", "1.5")
    assert SetCache.default() == SetCache(folder=tmp_path, limit=1_500_000_000)
    monkeypatch.delenv("CMT_SEARCH_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert SetCache.default().folder == tmp_path / "xdg" / "cmt_search"
    monkeypatch.setenv("CMT_SEARCH_CACHE_GB", "much")
    with pytest.raises(DataError, match=r"CMT_SEARCH_CACHE_GB='much' is no number; give gigabyt"):
        SetCache.default()
