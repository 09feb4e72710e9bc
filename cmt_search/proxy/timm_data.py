"""Sources that timm knows: folders, tar files, torchvision's, Hugging Face's, WebDataset."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from timm.data import create_dataset
from torch import Tensor

from cmt_search.dataset_spec import DatasetSpec
from cmt_search.errors import DataError
from cmt_search.proxy.data import ImageSet
from cmt_search.proxy.decoding import CenterSquare, cached_images, fingerprint

_FOLDERS = ("", "torch/folder", "torch/image_folder")
_LAYOUT = "lay the images out as {root}/train/CLASS/IMAGE and {root}/validation/CLASS/IMAGE"
_SAME = 256  # images compared to see whether two splits are one

Part = tuple[ImageSet, tuple[str, ...]]


def timm_parts(spec: DatasetSpec) -> tuple[Part, Part | None]:
    """Training and validation images, with the names of their classes.

    Raises:
        DataError: timm cannot read them, or gives the same images for both splits.
    """
    train = _read(spec, split=spec.train_split)
    if spec.val_split is None:
        return train, None
    val = _read(spec, split=spec.val_split)
    if _same(train[0], val[0]):
        raise DataError(
            f"proxy.dataset: {spec.name} gives the same images for train_split="
            f"{spec.train_split!r} and val_split={spec.val_split!r}; name another split, or set "
            "val_split: null to hold out a fifth"
        )
    return train, val


def _read(spec: DatasetSpec, *, split: str) -> Part:
    with _offline():
        images = _opened(spec, split=split)
        fit, name = CenterSquare(spec.size or 0), spec.of_timm or ""
        if hasattr(images, "_max_retries"):
            images._max_retries = 1  # timm would take the next image for one that it cannot read

        def decode(item: Any) -> tuple[Tensor, int]:
            """An image of a stream, or the place of one."""
            picture, label = images[item] if isinstance(item, int) else item
            return _square(picture, fit), _label(label, spec)

        def classes(labels: Tensor) -> tuple[str, ...]:
            return _class_names(images, labels)

        try:
            return cached_images(
                lambda: _items(images),
                decode=decode,
                classes=classes,
                identity=f"{name}\0{split}\0{spec.size}\0{_state(spec, images)}",
                threads=name.lower() in _FOLDERS and Path(spec.root or "").is_dir(),
            )
        except (RuntimeError, OSError, ValueError) as error:
            raise DataError(
                f"{spec.name}, split {split!r}: an image cannot be read "
                f"({error.__cause__ or error}); repair or remove it"
            ) from error


def _opened(spec: DatasetSpec, *, split: str) -> Any:
    name = spec.of_timm or ""
    try:
        images = create_dataset(name, root=spec.root, split=split, download=False)
    except (ImportError, RuntimeError, AssertionError, OSError, ValueError, KeyError) as error:
        raise DataError(
            f"proxy.dataset: timm cannot open {spec.name}, split {split!r}, in root="
            f"{spec.root!r} ({str(error) or type(error).__name__}); {_remedy(spec, split)}"
        ) from error
    if spec.val_split is not None and _is_whole_root(images, spec):
        # timm falls back on it, and training images would be validated on.
        raise DataError(
            f"proxy.dataset.root={spec.root!r} has no folder for split {split!r}; "
            + _LAYOUT.format(root=spec.root)
            + ", or set val_split: null to hold out a fifth"
        )
    return images


def _is_whole_root(images: Any, spec: DatasetSpec) -> bool:
    root = Path(spec.root or "")
    if (spec.of_timm or "").lower() not in _FOLDERS or not root.is_dir():
        return False
    return Path(getattr(images, "reader", images).root) == root


def _remedy(spec: DatasetSpec, split: str) -> str:
    name = spec.of_timm or ""
    if name.lower() in _FOLDERS:
        return _LAYOUT.format(root=spec.root)
    call = f"D({name!r}, root={spec.root!r}, split={split!r}"
    call += ", download=True)" if name.lower().startswith("torch/") else ")"
    return (
        "nothing is downloaded during a search; install what is missing, and fetch the images "
        f'once: python -c "from timm.data import create_dataset as D; {call}"'
    )


def _items(images: Any) -> Iterable[Any]:
    """Places of the images, or the images themselves of a stream, once each."""
    return range(len(images)) if hasattr(images, "__getitem__") and _indexed(images) else images


def _indexed(images: Any) -> bool:
    return not isinstance(images, torch.utils.data.IterableDataset)


def _square(picture: Any, fit: CenterSquare) -> Tensor:
    if isinstance(picture, Image.Image):
        return fit(picture)
    raise ValueError(f"{type(picture).__name__} is no image")


def _label(label: Any, spec: DatasetSpec) -> int:
    try:
        number = int(label)
    except (TypeError, ValueError):
        number = -1
    if number < 0:
        raise DataError(f"{spec.name} has an image of class {label!r}; every image needs one class")
    return number


def _class_names(images: Any, labels: Tensor) -> tuple[str, ...]:
    """As the source has them; else their numbers."""
    reader = getattr(images, "reader", images)
    by_name = getattr(reader, "class_to_idx", None) or getattr(reader, "class_name_to_idx", None)
    if by_name:
        return tuple(str(name) for name in sorted(by_name, key=lambda name: by_name[name]))
    return tuple(str(i) for i in range(int(labels.max()) + 1))


def _state(spec: DatasetSpec, images: Any) -> str:
    """What changes when the images do."""
    arrow = getattr(getattr(images, "reader", None), "dataset", None)
    known = getattr(arrow, "_fingerprint", None)  # Hugging Face's own
    return str(known) if known else fingerprint(Path(spec.root or ""))


def _same(train: ImageSet, val: ImageSet) -> bool:
    if len(train) != len(val) or not torch.equal(train.labels, val.labels):
        return False
    some = torch.arange(min(len(train), _SAME))
    return torch.equal(train.take(some)[0], val.take(some)[0])


@contextmanager
def _offline() -> Iterator[None]:
    """Hugging Face's libraries look only at what lies on disk."""
    places = []
    for module in _hugging_face():
        places.append((module, module.HF_HUB_OFFLINE))
        module.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        for module, before in places:
            module.HF_HUB_OFFLINE = before


def _hugging_face() -> Iterator[Any]:
    from huggingface_hub import constants  # timm needs it

    yield constants
    if find_spec("datasets") is not None:
        yield import_module("datasets.config")
