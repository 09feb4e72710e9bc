"""Read image data sets from disk."""

import gzip
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchvision.datasets import CIFAR10, FashionMNIST

from cmt_search.dataset_spec import DatasetSpec
from cmt_search.errors import DataError
from cmt_search.proxy.data import Dataset, ImageSet, filter_classes, select_classes, subsample
from cmt_search.proxy.image_files import Decoded, read_folder
from cmt_search.proxy.timm_data import read_timm

_VAL_FRACTION = 0.2  # of a source without validation images, for each of the two folds
_TEST_FRACTION = 0.1  # of the training images of a source with validation images


@dataclass(frozen=True, slots=True, kw_only=True)
class _Source:
    """All images of a source, before they are split."""

    train: ImageSet
    val: ImageSet | None  # None: the source has no validation images of its own
    classes: tuple[str, ...]


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
    source = _timm(spec) if spec.of_timm is not None else _READERS[spec.name](spec)
    names = source.classes
    if len(names) < 2:
        raise DataError(f"{spec.root} holds one class, {names[0]!r}; give at least two")
    classes = select_classes(spec, names=names)
    train, val = (
        filter_classes(part, chosen=classes, names=names)
        for part in _split(source, test=spec.split == "test")
    )
    train = subsample(train, spec)
    mean, std = train.statistics()
    return Dataset(spec=spec, train=train, val=val, classes=classes, mean=mean, std=std)


def _split(source: _Source, *, test: bool) -> tuple[ImageSet, ImageSet]:
    if source.val is not None and not test:
        return source.train, source.val
    quantiles = source.train.class_quantiles()
    if source.val is not None:
        fold = quantiles < _TEST_FRACTION
    else:
        low = _VAL_FRACTION if test else 0.0
        fold = (quantiles >= low) & (quantiles < low + _VAL_FRACTION)
    return source.train.select(~fold), source.train.select(fold)


def _embedded(_: DatasetSpec) -> _Source:
    folder = resources.files("cmt_search.proxy") / "embedded"
    images = _read_idx(folder / "t10k-images-idx3-ubyte.gz")
    labels = _read_idx(folder / "t10k-labels-idx1-ubyte.gz")
    pool = ImageSet(images=images[:, None], labels=labels.long())
    return _Source(train=pool, val=None, classes=tuple(FashionMNIST.classes))


def _read_idx(file: Traversable) -> Tensor:
    raw = gzip.decompress(file.read_bytes())
    dims = raw[3]  # header: two zeros, the type (8: uint8), the number of dimensions, the sizes
    shape = np.frombuffer(raw, dtype=">u4", count=dims, offset=4)
    values = np.frombuffer(raw, dtype=np.uint8, offset=4 + 4 * dims)
    return torch.from_numpy(values.reshape(shape.tolist()).copy())


def _fashion_mnist(spec: DatasetSpec) -> _Source:
    layout = "FashionMNIST/raw/train-images-idx3-ubyte and its three siblings"
    train, val = _torchvision_parts(spec, FashionMNIST, layout=layout)
    train_set, val_set = (
        ImageSet(images=part.data[:, None], labels=part.targets.long()) for part in (train, val)
    )
    return _Source(train=train_set, val=val_set, classes=tuple(train.classes))


def _cifar10(spec: DatasetSpec) -> _Source:
    layout = "cifar-10-batches-py/data_batch_1 to 5 and test_batch"
    train, val = _torchvision_parts(spec, CIFAR10, layout=layout)
    train_set, val_set = (
        ImageSet(
            images=torch.from_numpy(part.data).permute(0, 3, 1, 2).contiguous(),
            labels=torch.tensor(part.targets),
        )
        for part in (train, val)
    )
    return _Source(train=train_set, val=val_set, classes=tuple(train.classes))


def _torchvision_parts(
    spec: DatasetSpec, kind: type[FashionMNIST | CIFAR10], *, layout: str
) -> tuple[Any, Any]:
    """Open the training and the validation images of a torchvision data set."""
    try:
        train, val = (kind(str(spec.root), train=train, download=False) for train in (True, False))
    except (RuntimeError, OSError, ValueError) as error:
        raise DataError(
            f"proxy.dataset.root={spec.root!r} does not hold {spec.name} as torchvision stores it "
            f"({layout}); point it there, or fetch it once: python -c "
            f"'from torchvision.datasets import {kind.__name__} as D; "
            f"D({spec.root!r}, download=True)'"
        ) from error
    return train, val


def _folder(spec: DatasetSpec) -> _Source:
    root, side = Path(spec.root or ""), spec.size or 0  # DatasetSpec requires both
    if not root.is_dir():
        raise DataError(
            f"proxy.dataset.root={spec.root!r} is not a folder; set it to that of the images"
        )
    train, val = (read_folder(root / part, side=side) for part in ("train", "val"))
    return _source(train, val, spec=spec)


def _timm(spec: DatasetSpec) -> _Source:
    train, val = read_timm(spec)
    return _source(train, val, spec=spec)


def _source(train: Decoded, val: Decoded | None, *, spec: DatasetSpec) -> _Source:
    if val is None:
        return _Source(train=train[0], val=None, classes=train[1])
    if train[1] != val[1]:
        odd = sorted(set(train[1]) ^ set(val[1]))[0]
        raise DataError(
            f"{spec.root}: class {odd!r} is in only one of train and val; give both the same "
            "classes"
        )
    return _Source(train=train[0], val=val[0], classes=train[1])


_READERS: Mapping[str, Callable[[DatasetSpec], _Source]] = {
    "fashion-mnist-10k": _embedded,
    "fashion-mnist": _fashion_mnist,
    "cifar10": _cifar10,
    "folder": _folder,
}
