"""Data sets that timm reads: folders, tar files, torchvision's, Hugging Face's, WebDataset."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from timm.data import create_dataset

from cmt_search.dataset_spec import DatasetSpec
from cmt_search.errors import DataError
from cmt_search.proxy.data import Decoded
from cmt_search.proxy.image_files import decode_images, fingerprint, list_files

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


def _read(spec: DatasetSpec, *, split: str) -> Decoded:
    with _offline():
        source, root = _open(spec, split=split), Path(spec.root or "")
        arrow = getattr(getattr(source, "reader", None), "dataset", None)
        contents = getattr(arrow, "_fingerprint", None)  # Hugging Face's own
        contents = contents or fingerprint(list_files(root), root=root)
        return decode_images(
            source,
            side=spec.size or 0,
            contents=f"{spec.of_timm}\0{split}\0{contents}",
            title=f"{spec.name}, split {split!r}",
        )


def _open(spec: DatasetSpec, *, split: str) -> Any:
    """Open a split, without a fallback on the whole root: that holds training images, too."""
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
    reader, root = getattr(source, "reader", source), Path(spec.root or "")
    is_folder = name.lower() in _FOLDERS and root.is_dir()
    if is_folder and spec.val_split is not None and Path(reader.root) == root:
        raise DataError(
            f"proxy.dataset.root={spec.root!r} has no folder for split {split!r}; "
            f"{_LAYOUT.format(root=spec.root)}, or set val_split: null to hold out a fifth"
        )
    return source


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
