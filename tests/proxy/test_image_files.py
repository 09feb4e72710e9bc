"""Listing, fingerprints and decoding of image files."""

import io
import logging
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from cmt_search.errors import DataError
from cmt_search.proxy import image_files
from cmt_search.proxy.image_files import fit_square, list_files, read_folder


def _fingerprint(root: Path) -> str:
    return image_files.fingerprint(list_files(root), root=root)


def _folder(root: Path) -> Path:
    (root / "a").mkdir(parents=True)
    (root / "a" / "1.png").write_bytes(b"one")
    (root / "2.png").write_bytes(b"two")
    return root


def test_names_sizes_and_times_of_change_count_and_the_place_does_not(tmp_path: Path) -> None:
    root = _folder(tmp_path / "here")
    before = _fingerprint(root)
    root = root.rename(tmp_path / "there")
    assert _fingerprint(root) == before
    os.utime(root / "2.png", ns=(5, 5))
    changed = _fingerprint(root)
    assert changed != before
    (root / "2.png").rename(root / "3.png")
    assert _fingerprint(root) != changed


def test_a_single_file_has_a_fingerprint(tmp_path: Path) -> None:
    file = _folder(tmp_path / "root") / "2.png"
    before = _fingerprint(file)
    file.write_bytes(b"twos")
    assert _fingerprint(file) != before


def test_every_file_is_stat_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = _classes(tmp_path)
    calls: list[str] = []
    real = os.stat

    def stat(path: Any, *args: Any, **kwargs: Any) -> os.stat_result:
        calls.append(Path(os.fspath(path)).name if not isinstance(path, int) else "")
        return real(path, *args, **kwargs)

    read_folder(root, side=4)  # the images are in the cache
    monkeypatch.setattr(os, "stat", stat)
    read_folder(root, side=4)
    images = [name for name in calls if name.endswith(".png")]
    assert sorted(images) == sorted(path.name for path in root.rglob("*.png"))


def _classes(root: Path, **images: Image.Image) -> Path:
    """Two classes of two images each; `images` are added to the first."""
    for i, name in enumerate(("cat", "dog")):
        (root / name).mkdir(parents=True)
        for k in range(2):
            Image.new("RGB", (4, 4), (10 * i + k,) * 3).save(root / name / f"{name}{k}.png")
    for name, image in images.items():
        image.save(root / "cat" / f"{name}.png")
    return root


def test_files_that_are_not_images_are_skipped_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = _classes(tmp_path)
    Image.new("RGB", (4, 4)).save(root / "cat" / "moving.gif")
    (root / "cat" / ".DS_Store").write_bytes(b"")
    with caplog.at_level(logging.WARNING):
        images, _ = read_folder(root, side=4)
    assert len(images) == 4
    (record,) = caplog.records
    assert "1 files are skipped" in record.getMessage()
    assert "cat/moving.gif" in record.getMessage()


@pytest.mark.parametrize("link", ["cat/2.png", "wolf"])
def test_a_broken_link_is_refused(tmp_path: Path, link: str) -> None:
    root = _classes(tmp_path)
    (root / link).symlink_to(tmp_path / "gone")
    with pytest.raises(DataError, match=rf"{link} is a broken link .* repair or remove it"):
        read_folder(root, side=4)


def test_a_class_without_images_is_refused(tmp_path: Path) -> None:
    root = _classes(tmp_path)
    (root / "empty").mkdir()
    with pytest.raises(DataError, match=r"classes empty\..*lay them out as .*/CLASS/"):
        read_folder(root, side=4)


def test_images_of_16_bits_keep_their_brightness() -> None:
    values = np.array([[0, 257 * 100], [257 * 200, 65535]], np.uint16)
    for byte_order in ("<u2", ">u2"):
        tensor = fit_square(Image.fromarray(values.astype(byte_order)), side=2)
        assert tensor[0].tolist() == [[0, 100], [200, 255]]
    stored = io.BytesIO()
    Image.fromarray(values).save(stored, "PNG")
    assert torch.equal(fit_square(Image.open(stored), side=2), tensor)


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_an_image_of_an_unknown_range_is_refused(tmp_path: Path, dtype: Any) -> None:
    root = _classes(tmp_path)
    Image.fromarray(np.ones((4, 4), dtype)).save(root / "cat" / "deep.tiff")
    with pytest.raises(DataError, match=r"cat/deep\.tiff cannot be read .*mode .*8 bits"):
        read_folder(root, side=4)


def _bomb(side: int) -> bytes:
    """Return a PNG that claims to have side x side pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + checksum

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    data = zlib.compress(bytes(1000))
    body = chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize("side", [12_000, 60_000])
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_an_image_of_too_many_pixels_is_refused_before_it_is_decoded(
    tmp_path: Path, side: int
) -> None:
    root = _classes(tmp_path)
    (root / "cat" / "bomb.png").write_bytes(_bomb(side))
    with pytest.raises(DataError, match=r"cat/bomb\.png cannot be read as an image .*pixels"):
        read_folder(root, side=4)


def test_a_large_photo_is_decoded_at_a_part_of_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_files, "_MAX_PIXELS", 100 * 100)
    stored = io.BytesIO()
    Image.new("RGB", (400, 400), (120, 60, 30)).save(stored, "JPEG")
    image = Image.open(stored)
    tensor = fit_square(image, side=16)
    assert image.size == (50, 50)
    assert (tensor.float().mean((1, 2)) - torch.tensor([120.0, 60.0, 30.0])).abs().max() < 2
