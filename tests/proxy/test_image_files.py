"""What counts as a change of files."""

import os
from pathlib import Path

import pytest

from cmt_search.proxy import image_files
from cmt_search.proxy.image_files import list_files


def _fingerprint(root: Path) -> str:
    return image_files.fingerprint(list_files(root), root=root)


def _folder(root: Path) -> Path:
    (root / "a").mkdir(parents=True)
    (root / "a" / "1.png").write_bytes(b"one")
    (root / "2.png").write_bytes(b"two")
    return root


def test_names_and_contents_count_and_place_and_time_do_not(tmp_path: Path) -> None:
    here, there = _folder(tmp_path / "here"), _folder(tmp_path / "there")
    os.utime(there / "2.png", ns=(5, 5))
    before = _fingerprint(here)
    assert _fingerprint(there) == before
    (there / "2.png").write_bytes(b"owt")
    assert _fingerprint(there) != before
    (here / "2.png").rename(here / "3.png")
    assert _fingerprint(here) != before


def test_of_many_bytes_the_times_of_change_count_instead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_files, "_CONTENT_BYTES", 5)
    root = _folder(tmp_path / "root")
    before = _fingerprint(root)
    assert _fingerprint(root) == before
    os.utime(root / "2.png", ns=(5, 5))
    assert _fingerprint(root) != before


def test_a_single_file_has_a_fingerprint(tmp_path: Path) -> None:
    file = _folder(tmp_path / "root") / "2.png"
    before = _fingerprint(file)
    file.write_bytes(b"twos")
    assert _fingerprint(file) != before
