"""Data sets that timm reads: folders, tar files, torchvision's, Hugging Face's, WebDataset."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from timm.data import create_dataset
from torch import Tensor
from torch.utils.data import IterableDataset

from cmt_search.dataset_spec import DatasetSpec
from cmt_search.errors import DataError
from cmt_search.proxy.cache import Decoded
from cmt_search.proxy.image_files import (
    UNREADABLE,
    cached_images,
    fingerprint,
    fit_square,
    list_files,
)

_FOLDERS = ("", "torch/folder", "torch/image_folder")
_ARRAYS = ("tfds/", "wds/")  # readers that need a mode to make images
_LAYOUT = "lay the images out as {root}/train/CLASS/IMAGE and {root}/validation/CLASS/IMAGE"
_COMPARED_IMAGES = 256  # to detect that two splits are the same


def read_timm(spec: DatasetSpec) -> tuple[Decoded, Decoded | None]:
    """Read training and validation images, each with the names of its classes.

    Raises:
        DataError: timm cannot read them, or gives the same images for both splits.
    """
    train = _read(spec, split=spec.train_split)
    if spec.val_split is None:
        return train, None
    val = _read(spec, split=spec.val_split)
    first = torch.arange(min(len(train[0]), len(val[0]), _COMPARED_IMAGES))
    if torch.equal(train[0].labels, val[0].labels) and torch.equal(
        train[0].take(first)[0], val[0].take(first)[0]
    ):
        raise DataError(
            f"proxy.dataset: {spec.name} gives the same images for train_split="
            f"{spec.train_split!r} and val_split={spec.val_split!r}; name another split, or set "
            "val_split: null to hold out a fifth"
        )
    return train, val


def _read(spec: DatasetSpec, *, split: str) -> Decoded:
    with _offline():
        source = _open(spec, split=split)
        indexed = not isinstance(source, IterableDataset)
        if hasattr(source, "_max_retries"):
            source._max_retries = 1  # timm would replace an unreadable image by the next

        def decode(item: Any) -> tuple[Tensor, int]:
            """Decode an index, or an item of a stream."""
            with _readable(spec, split=split):
                image, label = source[item] if indexed else item
                if not isinstance(image, Image.Image):
                    raise ValueError(f"{type(image).__name__} is not an image")
                return fit_square(image, side=spec.size or 0), _label(label, spec)

        def stream() -> Iterator[Any]:
            with _readable(spec, split=split):
                yield from source

        return cached_images(
            lambda: range(len(source)) if indexed else stream(),
            decode=decode,
            classes=lambda labels: _class_names(source, labels),
            identity=f"{spec.of_timm}\0{split}\0{spec.size}\0{_state(spec, source)}",
            threads=_is_folder(spec),
        )


@contextmanager
def _readable(spec: DatasetSpec, *, split: str) -> Iterator[None]:
    """Convert what timm and Pillow raise for a bad image.

    Raises:
        DataError: an image cannot be read.
    """
    try:
        yield
    except (RuntimeError, *UNREADABLE) as error:
        raise DataError(
            f"{spec.name}, split {split!r}: an image cannot be read "
            f"({error.__cause__ or error}); repair or remove it"
        ) from error


def _open(spec: DatasetSpec, *, split: str) -> Any:
    name = spec.of_timm or ""
    # Images keep their mode: timm's conversion would clip values of 16 bits.
    mode = {} if name.startswith(_ARRAYS) else {"input_img_mode": None}
    try:
        source = create_dataset(name, root=spec.root, split=split, download=False, **mode)
    except (ImportError, RuntimeError, AssertionError, OSError, ValueError, KeyError) as error:
        raise DataError(
            f"proxy.dataset: timm cannot open {spec.name}, split {split!r}, in root="
            f"{spec.root!r} ({str(error) or type(error).__name__}); {_remedy(spec, split)}"
        ) from error
    reader = getattr(source, "reader", source)
    if spec.val_split is not None and _is_folder(spec) and Path(reader.root) == Path(spec.root):  # type: ignore[arg-type]
        # timm falls back on the whole root, and would validate on training images.
        raise DataError(
            f"proxy.dataset.root={spec.root!r} has no folder for split {split!r}; "
            + _LAYOUT.format(root=spec.root)
            + ", or set val_split: null to hold out a fifth"
        )
    return source


def _is_folder(spec: DatasetSpec) -> bool:
    return (spec.of_timm or "").lower() in _FOLDERS and Path(spec.root or "").is_dir()


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


def _label(label: Any, spec: DatasetSpec) -> int:
    try:
        number = int(label)
    except (TypeError, ValueError):
        number = -1
    if number < 0:
        raise DataError(f"{spec.name} has an image of class {label!r}; every image needs one class")
    return number


def _class_names(source: Any, labels: Tensor) -> tuple[str, ...]:
    """Return the source's names of its classes, or their numbers."""
    reader = getattr(source, "reader", source)
    by_name = getattr(reader, "class_to_idx", None) or getattr(reader, "class_name_to_idx", None)
    if by_name:
        return tuple(str(name) for name in sorted(by_name, key=lambda name: by_name[name]))
    return tuple(str(i) for i in range(int(labels.max()) + 1))


def _state(spec: DatasetSpec, source: Any) -> str:
    """Identify the contents of the source."""
    arrow = getattr(getattr(source, "reader", None), "dataset", None)
    known = getattr(arrow, "_fingerprint", None)  # Hugging Face's own
    root = Path(spec.root or "")
    return str(known) if known else fingerprint(list_files(root), root=root)


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
