"""Read image data sets from disk."""

import gzip
import tarfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib import import_module, resources
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from timm.data import create_dataset
from torchvision.datasets import CIFAR10, FashionMNIST

from cmt_search.dataset_spec import EMBEDDED, DatasetSpec
from cmt_search.errors import DataError
from cmt_search.proxy.data import Dataset, Decoded, ImageSet
from cmt_search.proxy.image_files import decode_images, fingerprint, list_files, read_folder

_VAL_FRACTION = 0.2  # of a source without validation images, for each of the two folds
_TEST_FRACTION = 0.1  # of the training images of a source with validation images
_TORCHVISION = {  # classes, and the files that they read
    "fashion-mnist": (FashionMNIST, "FashionMNIST/raw/train-images-idx3-ubyte and three siblings"),
    "cifar10": (CIFAR10, "cifar-10-batches-py/data_batch_1 to 5 and test_batch"),
}
_FOLDERS = ("", "torch/folder", "torch/image_folder")  # of timm
_TIMM_ERRORS = (  # of `create_dataset`
    *(AssertionError, ImportError, KeyError, OSError, RuntimeError, ValueError),
    tarfile.TarError,
)
_ARRAYS = ("tfds/", "wds/")  # of timm: readers that need a mode to make images
_LAYOUT = "lay the images out as {root}/train/CLASS/IMAGE and {root}/validation/CLASS/IMAGE"
_COMPARED_IMAGES = 256  # to detect that two splits are the same


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
        return _read_timm(spec)
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


def _read_timm(spec: DatasetSpec) -> tuple[Decoded, Decoded | None]:
    train = _read_timm_split(spec, split=spec.train_split)
    if spec.val_split is None:
        return train, None
    val = _read_timm_split(spec, split=spec.val_split)
    first = slice(_COMPARED_IMAGES)
    if torch.equal(train[0].labels, val[0].labels) and torch.equal(
        train[0].images[first], val[0].images[first]
    ):
        raise DataError(
            f"proxy.dataset: {spec.name} gives the same images for train_split="
            f"{spec.train_split!r} and val_split={spec.val_split!r}; name another split, or set "
            "val_split: null to hold out a fifth"
        )
    return train, val


def _read_timm_split(spec: DatasetSpec, *, split: str) -> Decoded:
    with _offline():
        source, root = _open_timm(spec, split=split), Path(spec.root or "")
        arrow = getattr(getattr(source, "reader", None), "dataset", None)
        contents = getattr(arrow, "_fingerprint", None)  # Hugging Face's own
        contents = contents or fingerprint(list_files(root), root=root)
        return decode_images(
            source,
            side=spec.size or 0,
            contents=f"{spec.of_timm}\0{split}\0{contents}",
            title=f"{spec.name}, split {split!r}",
        )


def _open_timm(spec: DatasetSpec, *, split: str) -> Any:
    """Open a split, without a fallback on the whole root: that holds training images, too."""
    name = spec.of_timm or ""
    # Images keep their mode: timm's conversion would clip values of 16 bits.
    mode = {} if name.startswith(_ARRAYS) else {"input_img_mode": None}
    try:
        source = create_dataset(name, root=spec.root, split=split, download=False, **mode)
    except _TIMM_ERRORS as error:
        raise DataError(
            f"proxy.dataset: timm cannot open {spec.name}, split {split!r}, in root="
            f"{spec.root!r} ({str(error) or type(error).__name__}); {_timm_remedy(spec, split)}"
        ) from error
    reader, root = getattr(source, "reader", source), Path(spec.root or "")
    is_folder = name.lower() in _FOLDERS and root.is_dir()
    if is_folder and spec.val_split is not None and Path(reader.root) == root:
        raise DataError(
            f"proxy.dataset.root={spec.root!r} has no folder for split {split!r}; "
            f"{_LAYOUT.format(root=spec.root)}, or set val_split: null to hold out a fifth"
        )
    return source


def _timm_remedy(spec: DatasetSpec, split: str) -> str:
    name = spec.of_timm or ""
    if name.lower() in _FOLDERS and Path(spec.root or "").is_file():
        return "it is no whole tar file; fetch it again, or give a folder"
    if name.lower() in _FOLDERS:
        return _LAYOUT.format(root=spec.root)
    call = f"D({name!r}, root={spec.root!r}, split={split!r}"
    call += ", download=True)" if name.lower().startswith("torch/") else ")"
    return (
        "nothing is downloaded during a search; install what is missing, and fetch the images "
        f'once: python -c "from timm.data import create_dataset as D; {call}"'
    )


@contextmanager
def _offline() -> Iterator[None]:
    """Keep Hugging Face's libraries from using the network."""
    modules = [import_module("huggingface_hub.constants")]  # timm needs it
    if find_spec("datasets") is not None:
        modules.append(import_module("datasets.config"))
    with ExitStack() as stack:
        for module in modules:
            stack.callback(setattr, module, "HF_HUB_OFFLINE", module.HF_HUB_OFFLINE)
            module.HF_HUB_OFFLINE = True  # type: ignore[attr-defined]
        yield


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
