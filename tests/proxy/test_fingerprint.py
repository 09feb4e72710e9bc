"""What counts as a change of files."""

import os
from pathlib import Path

import pytest

from cmt_search.proxy import decoding as fingerprint_module
from cmt_search.proxy.decoding import fingerprint


def _folder(root: Path) -> Path:
    (root / "a").mkdir(parents=True)
    (root / "a" / "1.png").write_bytes(b"one")
    (root / "2.png").write_bytes(b"two")
    return root


def test_names_and_contents_count_and_place_and_time_do_not(tmp_path: Path) -> None:
    here, there = _folder(tmp_path / "here"), _folder(tmp_path / "there")
    os.utime(there / "2.png", ns=(5, 5))
    before = fingerprint(here)
    assert fingerprint(there) == before
    (there / "2.png").write_bytes(b"owt")
    assert fingerprint(there) != before
    (here / "2.png").rename(here / "3.png")
    assert fingerprint(here) != before


def test_a_file_that_moves_from_one_root_to_another_counts(tmp_path: Path) -> None:
    train, val = _folder(tmp_path / "train"), tmp_path / "val"
    val.mkdir()
    before = fingerprint(train, val)
    (train / "2.png").rename(val / "2.png")
    assert fingerprint(train, val) != before


def test_of_many_bytes_the_times_of_change_count_instead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fingerprint_module, "_READ", 5)
    root = _folder(tmp_path / "root")
    before = fingerprint(root)
    assert fingerprint(root) == before
    os.utime(root / "2.png", ns=(5, 5))
    assert fingerprint(root) != before


def test_a_single_file_has_a_fingerprint(tmp_path: Path) -> None:
    file = _folder(tmp_path / "root") / "2.png"
    before = fingerprint(file)
    file.write_bytes(b"twos")
    assert fingerprint(file) != before
