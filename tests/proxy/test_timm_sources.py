"""What timm reads: folders, tar files, torchvision's, streams; and what is said where it cannot."""

import pickle
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from torch.utils.data import IterableDataset

from cmt_search.errors import DataError
from cmt_search.proxy import Dataset, DatasetSpec, image_files, load_dataset, sources

# timm leaves it to Python to close the files that it opens.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")


def _write(root: Path, *, parts: dict[str, int], classes: tuple[str, ...] = ("cat", "dog")) -> None:
    """Images of one value each, all different."""
    value = 0
    for part, each in parts.items():
        for name in classes:
            folder = root / part / name
            folder.mkdir(parents=True)
            for k in range(each):
                value += 1
                Image.fromarray(np.full((12, 16, 3), value, np.uint8)).save(folder / f"{k:02}.png")


def _load(root: Path | None, *, name: str = "timm:", size: int = 8, **more: Any) -> Dataset:
    return load_dataset(
        DatasetSpec(name=name, root=None if root is None else str(root), size=size, **more)
    )


def _values(images: torch.Tensor) -> list[int]:
    return sorted(images[:, 0, 0, 0].tolist())


def test_a_folder_is_read_split_by_split(tmp_path: Path) -> None:
    _write(tmp_path, parts={"train": 5, "validation": 3})
    data = _load(tmp_path)
    assert data.train.images.shape == (10, 3, 8, 8)
    assert data.classes == ("cat", "dog")
    assert _values(data.train.images) == list(range(1, 11))
    assert _values(data.val.images) == list(range(11, 17))
    assert data.val.labels.tolist() == [0, 0, 0, 1, 1, 1]


def test_a_folder_agrees_with_the_folder_source(tmp_path: Path) -> None:
    _write(tmp_path, parts={"train": 5, "val": 3})
    ours = load_dataset(DatasetSpec(name="folder", root=str(tmp_path), size=8))
    theirs = _load(tmp_path, val_split="val")
    assert torch.equal(ours.train.images, theirs.train.images)
    assert torch.equal(ours.val.labels, theirs.val.labels)


def test_a_source_without_a_validation_split_gives_a_fifth(tmp_path: Path) -> None:
    _write(tmp_path, parts={"train": 10})
    search = _load(tmp_path, val_split=None)
    held_out = _load(tmp_path, val_split=None, split="test")
    for data in (search, held_out):
        assert data.train.labels.bincount().tolist() == [8, 8]
        assert data.val.labels.bincount().tolist() == [2, 2]
        assert not set(_values(data.train.images)) & set(_values(data.val.images))
    assert not set(_values(search.val.images)) & set(_values(held_out.val.images))


def test_a_tar_file_is_read(tmp_path: Path) -> None:
    _write(tmp_path / "data", parts={"train": 5})
    with tarfile.open(tmp_path / "images.tar", "w") as tar:
        tar.add(tmp_path / "data" / "train", arcname=".")
    data = _load(tmp_path / "images.tar", val_split=None)
    assert data.classes == ("cat", "dog")
    assert _values(torch.cat([data.train.images, data.val.images])) == list(range(1, 11))


def test_a_set_of_torchvision_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(  # the files are not the published ones: check that they are there only
        torchvision.datasets.cifar, "check_integrity", lambda path, md5=None: Path(path).is_file()
    )
    folder = tmp_path / "cifar-100-python"
    folder.mkdir()
    for part, count in (("train", 40), ("test", 20)):
        pixels = np.full((count, 3072), count, np.uint8)
        labels = [k % 10 for k in range(count)]
        (folder / part).write_bytes(pickle.dumps({"data": pixels, "fine_labels": labels}))
    names = {"fine_label_names": [f"class{i}" for i in range(10)]}
    (folder / "meta").write_bytes(pickle.dumps(names))
    data = _load(tmp_path, name="timm:torch/cifar100", size=32)
    assert len(data.train) == 40
    assert bool((data.val.images == 20).all())
    assert data.classes[3] == "class3"


class _Stream(IterableDataset[Any]):
    """As WebDataset's and Hugging Face's streams come from timm; no class names."""

    def __init__(self, values: range) -> None:
        self.values = values

    def __iter__(self) -> Iterator[tuple[Image.Image, int]]:
        for value in self.values:
            yield Image.new("L", (9, 9), value), value % 3


def test_a_stream_is_read_to_its_end_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = {"train": range(200), "validation": range(30)}
    opened = []

    def create(name: str, *, split: str, download: bool, **_: object) -> _Stream:
        opened.append((name, split, download))
        return _Stream(parts[split])

    monkeypatch.setattr(sources, "create_dataset", create)
    (tmp_path / "shard.tar").write_bytes(b"stand-in")
    data = _load(tmp_path, name="timm:wds/some")
    assert opened == [("wds/some", "train", False), ("wds/some", "validation", False)]
    assert data.classes == ("0", "1", "2")
    assert len(data.train) == 200
    assert _values(data.val.images) == list(range(30))
    monkeypatch.setattr(_Stream, "__iter__", lambda self: pytest.fail("was stored"))
    assert torch.equal(_load(tmp_path, name="timm:wds/some").train.images, data.train.images)


def test_images_of_a_stream_are_decoded_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log: list[str] = []

    class Logged(_Stream):
        def __iter__(self) -> Iterator[tuple[Image.Image, int]]:
            for sample in super().__iter__():
                log.append("given")
                yield sample

    def fit_square(image: Image.Image, *, side: int) -> torch.Tensor:
        log.append("decoded")
        return real(image, side=side)

    real = image_files.fit_square
    monkeypatch.setattr(image_files, "fit_square", fit_square)
    monkeypatch.setattr(sources, "create_dataset", lambda *_, **__: Logged(range(40)))
    (tmp_path / "shard.tar").write_bytes(b"of photos")
    _load(tmp_path, name="timm:wds/some", val_split=None)
    assert log == ["given", "decoded"] * 40


def test_training_images_are_never_taken_for_validation_images(tmp_path: Path) -> None:
    # timm reads the whole root where a split has no folder.
    _write(tmp_path, parts={"train": 5, "other": 3})
    with pytest.raises(DataError) as caught:
        _load(tmp_path)
    assert str(caught.value) == (
        f"proxy.dataset.root={str(tmp_path)!r} has no folder for split 'validation'; lay the "
        f"images out as {tmp_path}/train/CLASS/IMAGE and {tmp_path}/validation/CLASS/IMAGE, or "
        "set val_split: null to hold out a fifth"
    )


def test_two_splits_with_the_same_images_are_refused(tmp_path: Path) -> None:
    _write(tmp_path / "data", parts={"train": 5})
    with tarfile.open(tmp_path / "images.tar", "w") as tar:
        tar.add(tmp_path / "data" / "train", arcname=".")
    with pytest.raises(DataError, match=r"gives the same images for train_split='train' and val_"):
        _load(tmp_path / "images.tar")


def test_images_that_are_not_there_are_answered_with_how_to_fetch_them(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        _load(tmp_path, name="timm:torch/cifar100")
    message = str(caught.value)
    assert "timm cannot open timm:torch/cifar100, split 'train'" in message
    assert "nothing is downloaded during a search" in message
    assert (
        f"python -c \"from timm.data import create_dataset as D; D('torch/cifar100', "
        f"root={str(tmp_path)!r}, split='train', download=True)\""
    ) in message


def test_an_unknown_name_and_a_missing_root_are_answered(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"timm cannot open timm:torch/none.*Unknown torchvision"):
        _load(tmp_path, name="timm:torch/none")
    with pytest.raises(DataError, match=r"root='.*gone' \(.*\); lay the images out as .*gone/tr"):
        _load(tmp_path / "gone")


def test_an_image_that_cannot_be_read_is_not_replaced_by_the_next(tmp_path: Path) -> None:
    _write(tmp_path, parts={"train": 5, "validation": 3})
    (tmp_path / "train" / "dog" / "02.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"train/dog/02\.png cannot be read .*; repair"):
        _load(tmp_path)


def test_an_image_without_a_class_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Unlabelled(_Stream):
        def __iter__(self) -> Iterator[tuple[Image.Image, int]]:
            yield Image.new("L", (9, 9)), -1

    monkeypatch.setattr(sources, "create_dataset", lambda *_, **__: Unlabelled(range(1)))
    (tmp_path / "shard.tar").write_bytes(b"another")
    with pytest.raises(DataError, match=r"'train': image 0 cannot be read .*class is -1; every"):
        _load(tmp_path, name="timm:wds/some")


@pytest.mark.parametrize("kept", [0.0, 0.5])
def test_a_tar_file_that_is_cut_short_is_named(tmp_path: Path, kept: float) -> None:
    _write(tmp_path / "data", parts={"train": 5})
    path = tmp_path / "images.tar"
    with tarfile.open(path, "w") as tar:
        tar.add(tmp_path / "data" / "train", arcname=".")
    content = path.read_bytes()
    path.write_bytes(content[: round(kept * len(content)) + 1])
    with pytest.raises(DataError, match=r"timm cannot open timm:, .*images\.tar.*; it is no whole"):
        _load(path, val_split=None)


def test_an_image_of_a_tar_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    _write(tmp_path / "data", parts={"train": 5})
    (tmp_path / "data" / "train" / "dog" / "02.png").write_bytes(b"no image")
    with tarfile.open(tmp_path / "images.tar", "w") as tar:
        tar.add(tmp_path / "data" / "train", arcname=".")
    with pytest.raises(DataError, match=r"split 'train': .*02\.png cannot be read .*; repair"):
        _load(tmp_path / "images.tar", val_split=None)


@pytest.mark.parametrize("name", ["timm:", "timm:torch/image_folder"])
def test_images_of_16_bits_keep_their_brightness(tmp_path: Path, name: str) -> None:
    _write(tmp_path, parts={"train": 5, "validation": 3})
    deep = np.full((12, 16), 257 * 90, np.uint16)
    Image.fromarray(deep).save(tmp_path / "train" / "cat" / "00.png")
    assert 90 in _values(_load(tmp_path, name=name).train.images)


def test_an_image_of_too_many_pixels_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _write(tmp_path, parts={"train": 5, "validation": 3})
    monkeypatch.setattr(image_files, "_MAX_PIXELS", 100)
    with pytest.raises(DataError, match=r"\.png cannot be read as an image .*pixels"):
        _load(tmp_path, size=7)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50)  # Pillow raises at twice as many
    with pytest.raises(DataError, match=r"\.png cannot be read as an image .*pixels"):
        _load(tmp_path, size=6)
