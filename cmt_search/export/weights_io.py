"""Weights that exported files hold, to be taken along or kept from being lost."""

from collections.abc import Mapping
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

from cmt_search.errors import ExportError
from cmt_search.export import timm_folder, torch_export
from cmt_search.export.reader import load_variant
from cmt_search.export.source import FRESH, Source, Weights
from cmt_search.export.training import kept_weights
from cmt_search.export.variant import Variant
from cmt_search.export.weights import load_weights, sha256_of
from cmt_search.export.yaml_io import read_mapping

_TRAINING = "train.json"
_GRAPHS = (".onnx", torch_export.SUFFIX)  # hold weights that are not read back
UNKNOWN_ORIGIN = "Of unknown origin: what lies beside them does not tell how they were trained."
_AGAIN = "export the variant again with --weights"


def source_in(path: Path) -> Source:
    """What an exported file or folder holds: the variant, and its trained weights if there are any.

    Raises:
        ExportError: it is no export, or its weights cannot be read back or were changed.
    """
    path = _described(path)
    variant, origin = load_variant(path), trained_in(path)
    if origin is None:
        return Source(variant=variant)
    if path.suffix in _GRAPHS:
        raise ExportError(
            f"{path} holds trained weights ({origin}), which cannot be read back from a graph; "
            "give --weights a folder that has them, or --weights none to go without"
        )
    if (path / _TRAINING).exists():
        return kept_weights(variant, folder=path)
    note = _note(path)
    try:
        weights = Weights(
            state=load_weights(path),
            origin=origin,
            mean=tuple(note["mean"]),
            std=tuple(note["std"]),
            classes=tuple(note.get("classes", ())),
            training=dict(note.get("training", {})),
        )
    except (KeyError, TypeError) as error:
        raise ExportError(
            f"{path}: does not tell how images are normalised ({error}); {_AGAIN}"
        ) from None
    return Source(variant=variant, weights=weights)


def weights_of(variant: Variant, *, path: Path) -> Source:
    """The variant with the weights that an exported file or folder, or a training, holds.

    Channels and classes become those that it was trained with.

    Raises:
        ExportError: they are of another network, or there are none.
    """
    if (path / _TRAINING).exists():
        return kept_weights(variant, folder=path)
    found = source_in(path)
    if found.weights is None:
        raise ExportError(
            f"{path}: holds no trained weights; give a folder of `cmt-search train`, or an export "
            "that has some"
        )
    own, arch = found.variant.arch, variant.arch
    adapted = replace(arch, in_chans=own.in_chans, num_classes=own.num_classes)
    if adapted.key != own.key:
        raise ExportError(
            f"{path}: is of network {own.key}, and {variant.name} is {adapted.key}; give the "
            "weights of that one"
        )
    return Source(variant=replace(variant, arch=adapted), weights=found.weights)


def trained_in(path: Path) -> str | None:
    """How the trained weights of an exported file or folder came about; None where it has none."""
    if not path.is_dir() and path.suffix not in _GRAPHS:
        return None
    holder = path / timm_folder.WEIGHTS if path.is_dir() else path
    if not holder.is_file():
        return None
    try:
        note = _note(path)
        is_verified = path.suffix in _GRAPHS or note.get("sha256") == sha256_of(holder)
    except (ExportError, OSError):  # a damaged description says nothing about its weights
        return UNKNOWN_ORIGIN
    origin = str(note.get("origin", UNKNOWN_ORIGIN))
    if origin == FRESH:
        return None if is_verified else UNKNOWN_ORIGIN  # others may have been put in their place
    return origin


def _described(path: Path) -> Path:
    """What describes the network, where `path` is a file of weights alone."""
    if path.suffix == ".safetensors":
        if path.name != timm_folder.WEIGHTS:
            raise ExportError(
                f"{path}: is not {timm_folder.WEIGHTS}, which its folder tells of; give the folder"
            )
        return path.parent
    return path


def _note(path: Path) -> Mapping[str, Any]:
    """What an export says of its weights, and of the images that they expect."""
    if path.suffix == ".onnx":
        return _onnx_note(path)
    if path.is_dir():
        if not (path / timm_folder.CONFIG).exists():
            return {}
        config = read_mapping(path / timm_folder.CONFIG)
        images, note = _plain(config.get("pretrained_cfg")), _plain(config.get("cmt_search"))
        plain = {name: images[name] for name in ("mean", "std") if name in images}
        classes = {"classes": images.get("label_names", ())}
        return {**plain, **classes, **_plain(note.get("weights"))}
    return _plain(torch_export.read_description(path).get("weights"))


def _plain(value: object) -> Mapping[str, Any]:
    """A mapping that a file should hold; what it holds in its place tells nothing."""
    return value if isinstance(value, Mapping) else {}


def _onnx_note(path: Path) -> Mapping[str, Any]:
    try:
        onnx, broken = import_module("onnx"), import_module("google.protobuf.message").DecodeError
        model = onnx.load(path, load_external_data=False)
    except ImportError:
        return {}
    except (OSError, broken) as error:
        raise ExportError(f"{path}: cannot be read ({error})") from None
    props = {entry.key: entry.value for entry in model.metadata_props}
    return {"origin": props["cmt_search.weights"]} if "cmt_search.weights" in props else {}
