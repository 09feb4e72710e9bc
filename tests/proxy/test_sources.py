"""Data sets read from files, and what is said where they are missing or wrong."""

import pickle
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image

from cmt_search.arch import Arch
from cmt_search.errors import DataError
from cmt_search.evaluation import Fidelity
from cmt_search.proxy import DatasetSpec, ProxyEvaluator, Recipe, image_files, load_dataset


def _write_idx(path: Path, values: np.ndarray) -> None:
    header = bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape)
    path.write_bytes(header + values.tobytes())


def _write_fashion_mnist(root: Path, *, train: int, test: int) -> None:
    raw = root / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for part, count in (("train", train), ("t10k", test)):
        images = np.arange(count * 784, dtype=np.uint64).astype(np.uint8).reshape(count, 28, 28)
        _write_idx(raw / f"{part}-images-idx3-ubyte", images)
        _write_idx(raw / f"{part}-labels-idx1-ubyte", np.arange(count, dtype=np.uint8) % 10)


def _write_cifar10(root: Path) -> None:
    folder = root / "cifar-10-batches-py"
    folder.mkdir()
    for i, name in enumerate([*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]):
        planes = np.tile(np.repeat(np.array([i, 100, 200], np.uint8), 1024), (20, 1))
        batch = {"data": planes, "labels": [k % 10 for k in range(20)]}
        (folder / name).write_bytes(pickle.dumps(batch))
    names = {"label_names": [f"class{i}" for i in range(10)]}
    (folder / "batches.meta").write_bytes(pickle.dumps(names))


def _write_folder(
    root: Path,
    *,
    classes: tuple[str, ...] = ("cat", "dog"),
    each: int = 10,
    parts: tuple[str, ...] = ("train", "val"),
) -> None:
    for part in parts:
        for i, name in enumerate(classes):
            folder = root / part / name
            folder.mkdir(parents=True)
            for k in range(each):
                # Wider than high: red left of the centre crop, so that only a wrong crop shows it.
                pixels = np.full((20, 40, 3), 60 * i + k, np.uint8)
                pixels[:, :9] = (255, 0, 0)
                Image.fromarray(pixels).save(folder / f"{k}.png")


def test_fashion_mnist_is_read_in_torchvision_layout(tmp_path: Path) -> None:
    _write_fashion_mnist(tmp_path, train=100, test=30)
    data = load_dataset(DatasetSpec(name="fashion-mnist", root=str(tmp_path)))
    assert data.train.images.shape == (100, 1, 28, 28)
    assert data.val.images.shape == (30, 1, 28, 28)
    assert data.val.labels.tolist() == [i % 10 for i in range(30)]
    assert data.classes[9] == "Ankle boot"


def test_the_test_split_is_a_stratified_tenth_of_the_training_images(tmp_path: Path) -> None:
    _write_fashion_mnist(tmp_path, train=100, test=30)
    spec = DatasetSpec(name="fashion-mnist", root=str(tmp_path), split="test")
    data = load_dataset(spec)
    assert data.train.labels.bincount().tolist() == [9] * 10
    assert data.val.labels.bincount().tolist() == [1] * 10


def test_cifar10_is_read_in_torchvision_layout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(  # the files are not the published ones: check that they are there only
        torchvision.datasets.cifar, "check_integrity", lambda path, md5=None: Path(path).is_file()
    )
    _write_cifar10(tmp_path)
    data = load_dataset(DatasetSpec(name="cifar10", root=str(tmp_path)))
    assert data.train.images.shape == (100, 3, 32, 32)
    assert data.val.images.shape == (20, 3, 32, 32)
    assert data.val.images[0, :, 0, 0].tolist() == [5, 100, 200]
    assert data.classes == tuple(f"class{i}" for i in range(10))


def test_a_folder_is_resized_and_cropped_to_the_size_asked_for(tmp_path: Path) -> None:
    _write_folder(tmp_path)
    data = load_dataset(DatasetSpec(name="folder", root=str(tmp_path), size=10))
    assert data.train.images.shape == (20, 3, 10, 10)
    assert data.classes == ("cat", "dog")
    assert data.val.labels.bincount().tolist() == [10, 10]
    assert torch.equal(data.val.images[13], torch.full((3, 10, 10), 63, dtype=torch.uint8))


@pytest.mark.parametrize(
    ("name", "of", "layout"),
    [
        ("fashion-mnist", "FashionMNIST", "FashionMNIST/raw/train-images-idx3-ubyte"),
        ("cifar10", "CIFAR10", "cifar-10-batches-py/data_batch_1"),
    ],
)
def test_a_missing_torchvision_set_is_answered_with_its_layout_and_how_to_fetch_it(
    tmp_path: Path, name: str, of: str, layout: str
) -> None:
    with pytest.raises(DataError) as caught:
        load_dataset(DatasetSpec(name=name, root=str(tmp_path)))
    message = str(caught.value)
    assert f"proxy.dataset.root={str(tmp_path)!r} does not hold {name}" in message
    assert layout in message
    assert f"from torchvision.datasets import {of} as D" in message


def test_a_missing_root_is_named(tmp_path: Path) -> None:
    spec = DatasetSpec(name="folder", root=str(tmp_path / "none"), size=8)
    with pytest.raises(
        DataError, match=r"root='.*none' is not a folder; set it to that of the images"
    ):
        load_dataset(spec)


@pytest.mark.parametrize("part", ["train", "val"])
def test_a_missing_part_is_answered_with_the_layout(tmp_path: Path, part: str) -> None:
    _write_folder(tmp_path)
    (tmp_path / part).rename(tmp_path / "elsewhere")
    with pytest.raises(DataError, match=rf"{part} holds no images .* as .*/{part}/CLASS/IMAGE"):
        load_dataset(DatasetSpec(name="folder", root=str(tmp_path), size=8))


def test_a_single_class_is_refused(tmp_path: Path) -> None:
    _write_folder(tmp_path, classes=("cat",))
    with pytest.raises(DataError, match=r"holds one class, 'cat'; give at least two"):
        load_dataset(DatasetSpec(name="folder", root=str(tmp_path), size=8))


def test_a_class_that_only_one_part_has_is_named(tmp_path: Path) -> None:
    _write_folder(tmp_path)
    (tmp_path / "val" / "dog").rename(tmp_path / "val" / "wolf")
    with pytest.raises(DataError, match=r"class 'dog' is in only one of train and val"):
        load_dataset(DatasetSpec(name="folder", root=str(tmp_path), size=8))


def test_an_image_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    _write_folder(tmp_path)
    (tmp_path / "train" / "cat" / "3.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"cat/3\.png cannot be read as an image \(.*repair"):
        load_dataset(DatasetSpec(name="folder", root=str(tmp_path), size=8))


def test_a_folder_is_decoded_once_until_a_file_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CMT_SEARCH_CACHE", str(tmp_path / "cache"))
    root = tmp_path / "data"
    _write_folder(root)
    spec = DatasetSpec(name="folder", root=str(root), size=10)
    first = load_dataset(spec)
    with monkeypatch.context() as patch:
        patch.setattr(image_files, "fit_square", _no_decoding)
        again = load_dataset(spec)
    assert torch.equal(again.train.images, first.train.images)
    assert torch.equal(again.val.labels, first.val.labels)
    Image.new("RGB", (20, 40), (7, 7, 7)).save(root / "val" / "cat" / "3.png")
    assert bool((load_dataset(spec).val.images[3] == 7).all())


def test_a_folder_that_moves_is_not_decoded_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CMT_SEARCH_CACHE", str(tmp_path / "cache"))
    _write_folder(tmp_path / "here")
    load_dataset(DatasetSpec(name="folder", root=str(tmp_path / "here"), size=10))
    (tmp_path / "here").rename(tmp_path / "there")
    monkeypatch.setattr(image_files, "fit_square", _no_decoding)
    load_dataset(DatasetSpec(name="folder", root=str(tmp_path / "there"), size=10))


def test_a_folder_is_stored_once_whatever_the_side_of_the_networks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny: Arch
) -> None:
    monkeypatch.setenv("CMT_SEARCH_CACHE", str(tmp_path / "cache"))
    _write_folder(tmp_path / "data")
    spec = DatasetSpec(name="folder", root=str(tmp_path / "data"), size=10)
    measure = ProxyEvaluator(spec, recipe=Recipe(batch=8), device="cpu")
    stored = sorted(path.name for path in (tmp_path / "cache").iterdir())
    assert len([name for name in stored if name.endswith(".bin")]) == 2  # train and val
    for side in (6, 8, 10, 12):
        arch = replace(tiny, in_chans=3, num_classes=2, resolution=side)
        measure(arch, fidelity=Fidelity(epochs=1), seed=0)
    assert sorted(path.name for path in (tmp_path / "cache").iterdir()) == stored


def _no_decoding(*_: object, **__: object) -> None:
    raise AssertionError("these images were stored")
