"""Read image data sets from disk."""

import gzip
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torchvision.datasets import CIFAR10, FashionMNIST

from cmt_search.dataset_spec import EMBEDDED, DatasetSpec
from cmt_search.errors import DataError
from cmt_search.proxy.data import Dataset, Decoded, ImageSet
from cmt_search.proxy.image_files import read_folder
from cmt_search.proxy.timm_data import read_timm

_VAL_FRACTION = 0.2  # of a source without validation images, for each of the two folds
_TEST_FRACTION = 0.1  # of the training images of a source with validation images
_TORCHVISION = {  # classes, and the files that they read
    "fashion-mnist": (FashionMNIST, "FashionMNIST/raw/train-images-idx3-ubyte and three siblings"),
    "cifar10": (CIFAR10, "cifar-10-batches-py/data_batch_1 to 5 and test_batch"),
}


def load_dataset(spec: DatasetSpec) -> Dataset:
    """Read the images, split them, and select those of the spec.

    The validation images of the split "validation" are the source's own, or a fifth of its images.
    Those of the test split are held out from the images that searches train on: another fifth, or
    a tenth of a source that has validation images of its own. A source without them trains on as
    many images either way; the test split of any other never uses the source's validation images.
    All folds are stratified, fixed, and independent of the selected classes and images. The
    validation images are all those of the selected classes.

    Raises:
        DataError: the images are missing, unreadable, or not a classification task.
    """
    (images, names), val = _read(spec)
    if val is not None and val[1] != names:
        odd = sorted(set(names) ^ set(val[1]))[0]
        raise DataError(
            f"{spec.root}: class {odd!r} is in only one of train and val; give both the same "
            "classes"
        )
    if len(names) < 2:
        raise DataError(f"{spec.root} holds one class, {names[0]!r}; give at least two")
    chosen = _select_classes(spec, names=names)
    train, held_out = _split(images, None if val is None else val[0], test=spec.split == "test")
    if len(chosen) < len(names):
        train, held_out = (_filter_classes(part, chosen=chosen) for part in (train, held_out))
    train = _subsample(train, spec)
    mean, std = train.statistics()
    classes = tuple(names[label] for label in chosen)
    return Dataset(spec=spec, train=train, val=held_out, classes=classes, mean=mean, std=std)


def _read(spec: DatasetSpec) -> tuple[Decoded, Decoded | None]:
    """Read training and validation images; the latter are None where the source has none."""
    if spec.of_timm is not None:
        return read_timm(spec)
    if spec.name == EMBEDDED:
        return _read_embedded(), None
    if spec.name in _TORCHVISION:
        return _read_torchvision(spec)
    root, side = Path(spec.root or ""), spec.size or 0  # DatasetSpec requires both
    if not root.is_dir():
        raise DataError(
            f"proxy.dataset.root={spec.root!r} is not a folder; set it to that of the images"
        )
    return read_folder(root / "train", side=side), read_folder(root / "val", side=side)


def _read_embedded() -> Decoded:
    """Read the images and labels of IDX files, behind headers of 16 and 8 bytes."""
    folder = resources.files("cmt_search.proxy") / "embedded"
    pixels = gzip.decompress((folder / "t10k-images-idx3-ubyte.gz").read_bytes())[16:]
    labels = gzip.decompress((folder / "t10k-labels-idx1-ubyte.gz").read_bytes())[8:]
    images = torch.frombuffer(bytearray(pixels), dtype=torch.uint8).view(-1, 1, 28, 28)
    return ImageSet(images=images, labels=torch.tensor(list(labels))), tuple(FashionMNIST.classes)


def _read_torchvision(spec: DatasetSpec) -> tuple[Decoded, Decoded]:
    kind, layout = _TORCHVISION[spec.name]
    try:
        train, val = (kind(str(spec.root), train=train, download=False) for train in (True, False))
    except (RuntimeError, OSError, ValueError) as error:
        raise DataError(
            f"proxy.dataset.root={spec.root!r} does not hold {spec.name} as torchvision stores it "
            f"({layout}); point it there, or fetch it once: python -c "
            f"'from torchvision.datasets import {kind.__name__} as D; "
            f"D({spec.root!r}, download=True)'"
        ) from error
    return _convert(train), _convert(val)


def _convert(part: Any) -> Decoded:
    """Convert the pixels of a torchvision data set, (N, S, S) or (N, S, S, C)."""
    pixels = torch.as_tensor(part.data)
    images = pixels[:, None] if pixels.ndim == 3 else pixels.permute(0, 3, 1, 2).contiguous()
    labels = torch.as_tensor(part.targets).long()
    return ImageSet(images=images, labels=labels), tuple(part.classes)


def _split(images: ImageSet, val: ImageSet | None, *, test: bool) -> tuple[ImageSet, ImageSet]:
    if val is not None and not test:
        return images, val
    quantiles = images.class_quantiles()
    if val is not None:
        fold = quantiles < _TEST_FRACTION
    else:
        low = _VAL_FRACTION if test else 0.0
        fold = (quantiles >= low) & (quantiles < low + _VAL_FRACTION)
    return images.select(~fold), images.select(fold)


def _select_classes(spec: DatasetSpec, *, names: tuple[str, ...]) -> list[int]:
    """Choose the classes of the spec, in the source's order, by their labels.

    Raises:
        DataError: the source lacks a class, or has too few.
    """
    if spec.classes is None:
        return list(range(len(names)))
    if isinstance(spec.classes, int):
        if spec.classes > len(names):
            raise DataError(
                f"proxy.dataset.classes={spec.classes}, but {spec.name} has {len(names)}; "
                "use fewer, or leave the key out"
            )
        order = np.random.RandomState(spec.subset_seed).permutation(len(names))
        return sorted(order[: spec.classes].tolist())
    for name in spec.classes:
        if name not in names:
            raise DataError(
                f"proxy.dataset.classes: {spec.name} has no class {name!r}; "
                f"it has {', '.join(names[:10])}{', ...' if len(names) > 10 else ''}"
            )
    return sorted(map(names.index, spec.classes))


def _filter_classes(images: ImageSet, *, chosen: list[int]) -> ImageSet:
    """Return the images of the chosen classes, labelled by the index of their class in `chosen`."""
    kept = torch.tensor(chosen)
    labels = torch.searchsorted(kept, images.labels)
    return images.select(torch.isin(images.labels, kept), labels=labels)


def _subsample(images: ImageSet, spec: DatasetSpec) -> ImageSet:
    """Return `fraction` or `per_class` of the images of each class, at least one of each.

    Raises:
        DataError: a class has fewer images than `per_class`.
    """
    if spec.fraction is not None and spec.fraction < 1:
        return images.select(images.class_quantiles(seed=spec.subset_seed) < spec.fraction)
    if spec.per_class is not None:
        ranks, counts = images.class_ranks(seed=spec.subset_seed)
        if int(counts.min()) < spec.per_class:
            raise DataError(
                f"proxy.dataset.per_class={spec.per_class}, but a class of {spec.name} has "
                f"{int(counts.min())} training images; use at most that many"
            )
        return images.select(ranks < spec.per_class)
    return images
