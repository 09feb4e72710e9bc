"""Check that the networks of a space can be trained on its images, without reading them."""

from collections.abc import Iterator
from pathlib import Path

from cmt_search.dataset_spec import DatasetSpec
from cmt_search.errors import SpaceError
from cmt_search.space.search_space import SearchSpace

_TORCHVISION = {  # where torchvision stores them
    "fashion-mnist": ("FashionMNIST", "FashionMNIST/raw"),
    "cifar10": ("CIFAR10", "cifar-10-batches-py"),
}
_REMOTE = ("hfds/", "tfds/", "wds/")  # of timm: read from caches, archives or servers


def check_trainable(space: SearchSpace, *, file: Path) -> None:
    """Check images, classes, channels, split and resolution of a space before anything is made.

    Raises:
        SpaceError: the first problem, with the file, the key and the remedy.
    """
    for problem in (*_source_problems(space.proxy.dataset), *_network_problems(space)):
        raise SpaceError(f"{file}: {problem}")


def _source_problems(dataset: DatasetSpec) -> Iterator[str]:
    """Problems of the folder that holds the images."""
    is_remote = (dataset.of_timm or "").lower().startswith(_REMOTE)
    if dataset.split != "validation":
        yield (
            "proxy.dataset.split: the test split is held out for `cmt-search confirm`; "
            "remove the key"
        )
    if dataset.root is None or is_remote:
        return
    root = Path(dataset.root)
    if not root.exists():
        yield f"proxy.dataset.root: {root} does not exist; set it to the folder of the images"
    elif dataset.name == "folder" and not _class_folders(dataset):
        yield (
            f"proxy.dataset.root: {root / 'train'} holds no folders, one per class; lay the images "
            f"out as {root}/train/CLASS/IMAGE and {root}/val/CLASS/IMAGE"
        )
    elif dataset.name in _TORCHVISION:
        kind, folder = _TORCHVISION[dataset.name]
        if not (root / folder).is_dir():
            yield (
                f"proxy.dataset.root: {root} does not hold {dataset.name} as torchvision stores it "
                f"({folder}); point it there, or fetch it once: python -c 'from "
                f'torchvision.datasets import {kind} as D; D("{root}", download=True)\''
            )


def _class_folders(dataset: DatasetSpec) -> int:
    """Number of classes of an image folder."""
    train = Path(dataset.root or "") / "train"
    return sum(path.is_dir() for path in train.iterdir()) if train.is_dir() else 0


def _network_problems(space: SearchSpace) -> Iterator[str]:
    """Problems of the base, given the images."""
    dataset, base = space.proxy.dataset, space.arch
    classes = dataset.num_classes
    if classes is None and dataset.name == "folder":
        classes = _class_folders(dataset)
    for name, given, required in (
        ("in_chans", base.in_chans, dataset.in_chans),
        ("num_classes", base.num_classes, classes),
    ):
        if required is not None and given != required:
            yield (
                f"base.{name}: is {given}, but {dataset.name} has {required}; "
                f"set base.{name}: {required}"
            )
    side = dataset.native_resolution
    if space.kind == "rule" and side and base.resolution > side:
        yield (
            f"base.resolution: {base.resolution} px is above the {side} px of the images, so that "
            "no rule can be compared without interpolated pixels; "
            f"set base.resolution: {side // 2}, which leaves resolution something to add"
        )
