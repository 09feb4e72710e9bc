"""Files are replaced whole, on the disk, or stay as they were."""

import os
from pathlib import Path

import pytest

from cmt_search.io import atomic_path, atomic_write


@pytest.mark.parametrize("content", ["text \u2028", b"bytes"])
def test_a_file_is_written_with_its_folder(tmp_path: Path, content: str | bytes) -> None:
    path = atomic_write(tmp_path / "new" / "file", content)
    data = content.encode() if isinstance(content, str) else content
    assert path.read_bytes() == data
    assert list(path.parent.iterdir()) == [path]


def test_a_failure_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = atomic_write(tmp_path / "file", "before")
    with pytest.raises(FileNotFoundError), atomic_path(path) as partial:
        partial.write_text(path.with_name("missing").read_text())
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_links_and_modes_are_kept(tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_text("before")
    target.chmod(0o604)
    link.symlink_to("target")
    atomic_write(link, "after")
    assert (link.is_symlink(), target.read_text()) == (True, "after")
    assert target.stat().st_mode & 0o777 == 0o604


def test_a_file_is_synced_before_it_is_renamed_and_its_folder_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    sync, replace = os.fsync, Path.replace

    def recorded_sync(handle: int) -> None:
        synced = Path(f"/proc/self/fd/{handle}").readlink()
        events.append("sync folder" if synced == tmp_path.resolve() else "sync file")
        sync(handle)

    def recorded_replace(source: Path, target: Path) -> Path:
        events.append("rename")
        return replace(source, target)

    monkeypatch.setattr(os, "fsync", recorded_sync)
    monkeypatch.setattr(Path, "replace", recorded_replace)
    atomic_write(tmp_path / "file", "content")
    assert events == ["sync file", "rename", "sync folder"]
