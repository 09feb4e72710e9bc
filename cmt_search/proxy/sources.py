"""Read image data sets from disk."""

import gzip
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.datasets import CIFAR10, FashionMNIST, ImageFolder

from cmt_search.dataset_spec import DatasetSpec
from cmt_search.errors import DataError
from cmt_search.proxy.data import Dataset, ImageSet, filter_classes, select_classes, subsample
from cmt_search.proxy.decoding import CenterSquare, cached_images, fingerprint
from cmt_search.proxy.timm_data import timm_parts

_VAL_FRACTION = 0.2  # of a source without validation images, for each of the two folds
_TEST_FRACTION = 0.1  # of the training images of a source with validation images


@dataclass(frozen=True, slots=True, kw_only=True)
class _Source:
    """What lies on disk, before it is split."""

    train: ImageSet
    val: ImageSet | None  # None: the source has no validation images of its own
    classes: tuple[str, ...]


def load_dataset(spec: DatasetSpec) -> Dataset:
    """Read the images, split them, and keep those that the spec chooses.

    The validation fold of "validation" is the source's own, or else a fifth of its images. That of
    "test" comes from the images that a search trains on and never validates on: another fifth,
    or a tenth of a source that has validation images of its own. The first kind trains on all
    images outside the fold in use, so it trains on as many either way; the second never trains on
    the source's validation images. All folds are stratified and fixed, and do not depend on the
    choice of classes and images, which comes after. Validation images are all those of the classes.

    Raises:
        DataError: the images are missing, unreadable, or cannot be a classification task.
    """
    source = _read(spec)
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


def _read(spec: DatasetSpec) -> _Source:
    return _timm(spec) if spec.of_timm is not None else _READERS[spec.name](spec)


def _split(source: _Source, *, test: bool) -> tuple[ImageSet, ImageSet]:
    if source.val is not None and not test:
        return source.train, source.val
    ranks = source.train.ranks()
    if source.val is not None:
        fold = ranks < _TEST_FRACTION
    else:
        low = _VAL_FRACTION if test else 0.0
        fold = (ranks >= low) & (ranks < low + _VAL_FRACTION)
    return source.train.keep(~fold), source.train.keep(fold)


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
    parts = {}
    for train in (True, False):
        try:
            part = FashionMNIST(str(spec.root), train=train, download=False)
        except (RuntimeError, OSError, ValueError) as error:
            layout = "FashionMNIST/raw/train-images-idx3-ubyte and its three siblings"
            raise _no_torchvision_set(spec, of=FashionMNIST, layout=layout) from error
        parts[train] = ImageSet(images=part.data[:, None], labels=part.targets.long())
    return _Source(train=parts[True], val=parts[False], classes=tuple(FashionMNIST.classes))


def _cifar10(spec: DatasetSpec) -> _Source:
    parts = {}
    for train in (True, False):
        try:
            part = CIFAR10(str(spec.root), train=train, download=False)
        except (RuntimeError, OSError, ValueError) as error:
            layout = "cifar-10-batches-py/data_batch_1 to 5 and test_batch"
            raise _no_torchvision_set(spec, of=CIFAR10, layout=layout) from error
        images = torch.from_numpy(part.data).permute(0, 3, 1, 2).contiguous()
        parts[train] = ImageSet(images=images, labels=torch.tensor(part.targets))
        classes = tuple(part.classes)
    return _Source(train=parts[True], val=parts[False], classes=classes)


def _no_torchvision_set(spec: DatasetSpec, *, of: type, layout: str) -> DataError:
    return DataError(
        f"proxy.dataset.root={spec.root!r} does not hold {spec.name} as torchvision stores it "
        f"({layout}); point it there, or fetch it once: python -c "
        f"'from torchvision.datasets import {of.__name__} as D; D({spec.root!r}, download=True)'"
    )


def _folder(spec: DatasetSpec) -> _Source:
    root, side = Path(spec.root or ""), spec.size or 0  # DatasetSpec saw to it that both are there
    if not root.is_dir():
        raise DataError(f"proxy.dataset.root={spec.root!r} is no folder; point it at the images")
    train, classes = _read_folder(root / "train", side=side)
    val, val_classes = _read_folder(root / "val", side=side)
    _check_same(classes, val_classes, root=spec.root)
    return _Source(train=train, val=val, classes=classes)


def _check_same(train: tuple[str, ...], val: tuple[str, ...], *, root: str | None) -> None:
    if train != val:
        odd = sorted(set(train) ^ set(val))[0]
        raise DataError(
            f"{root}: class {odd!r} is in only one of train and val; give both the same classes"
        )


def _read_folder(folder: Path, *, side: int) -> tuple[ImageSet, tuple[str, ...]]:
    try:
        listed = ImageFolder(str(folder))
    except FileNotFoundError as error:
        raise DataError(
            f"{folder} holds no images in folders, one per class ({error}); "
            f"lay them out as {folder}/CLASS/IMAGE"
        ) from error
    fit = CenterSquare(side)

    def decode(sample: tuple[str, int]) -> tuple[Tensor, int]:
        path, label = sample
        try:
            with Image.open(path) as image:
                return fit(image), label
        except OSError as error:
            raise DataError(f"{path} cannot be read as an image; repair or remove it") from error

    return cached_images(
        lambda: listed.samples,
        decode=decode,
        classes=lambda _: tuple(listed.classes),
        identity=f"folder\0{side}\0{fingerprint(folder)}",
    )


def _timm(spec: DatasetSpec) -> _Source:
    (train, classes), val = timm_parts(spec)
    if val is None:
        return _Source(train=train, val=None, classes=classes)
    _check_same(classes, val[1], root=spec.root)
    return _Source(train=train, val=val[0], classes=classes)


_READERS: Mapping[str, Callable[[DatasetSpec], _Source]] = {
    "fashion-mnist-10k": _embedded,
    "fashion-mnist": _fashion_mnist,
    "cifar10": _cifar10,
    "folder": _folder,
}
