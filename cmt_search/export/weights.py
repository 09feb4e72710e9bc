"""State dicts out of exported files, checked against the network that they are of."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from cmt_search.arch import Arch
from cmt_search.errors import ArchError, ExportError
from cmt_search.export import timm_folder
from cmt_search.export.reader import load_variant
from cmt_search.export.yaml_io import read_mapping

if TYPE_CHECKING:
    from torch import Tensor

_HINT = "export the variant again with --weights"


def load_weights(path: Path | str) -> "dict[str, Tensor]":
    """The state dict of an exported network.

    Takes a folder for timm or the Hub, a folder of `cmt-search train`, or the model.safetensors of
    either.

    Raises:
        ExportError: there are no weights, they were changed, or are not those of the network; the
            file and the field are named.
    """
    description, weights = _files(Path(path))
    arch = load_variant(description).arch
    if not weights.is_file():
        raise ExportError(f"{weights}: does not exist, so {path} holds no weights; {_HINT}")
    _verify_sha256(weights, description=description)
    return _fitting(_read(weights), arch=arch, file=weights)


def sha256_of(path: Path) -> str:
    """Compute the sha256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _verify_sha256(weights: Path, *, description: Path) -> None:
    """Compare the weights with the sha256 in their description, where it has one.

    Raises:
        ExportError: they differ.
    """
    data = read_mapping(description)
    block = data.get(timm_folder.BLOCK) if description.name == timm_folder.CONFIG else data
    note = block.get("weights") if isinstance(block, Mapping) else None
    if note is None:
        return
    expected = note.get("sha256") if isinstance(note, Mapping) else None
    if expected != sha256_of(weights):
        raise ExportError(
            f"{description}: weights.sha256={expected!r:.80} is not the checksum of "
            f"{weights.name}: the file was changed or cut short; restore it, or export it again"
        )


def _files(path: Path) -> tuple[Path, Path]:
    """What describes the network, and where its weights are."""
    if path.is_dir() or path.suffix == ".safetensors":
        folder = path if path.is_dir() else path.parent
        if not path.is_dir() and path.name != timm_folder.WEIGHTS:
            raise ExportError(
                f"{path}: is not {timm_folder.WEIGHTS}, which its folder tells of; give the folder"
            )
        config = folder / timm_folder.CONFIG
        description = config if config.exists() else folder / "train.json"
        return description, folder / timm_folder.WEIGHTS if path.is_dir() else path
    raise ExportError(
        f"{path}: holds no weights that can be read back; give a timm folder, or a folder of "
        "`cmt-search train`"
    )


def _read(file: Path) -> "dict[str, Tensor]":
    from cmt_search.builder.checkpoint import read_checkpoint

    try:
        state: dict[str, Tensor] = read_checkpoint(file)
    except ArchError as error:
        raise ExportError(str(error)) from error
    return state


def _fitting(state: "Mapping[str, Tensor]", *, arch: Arch, file: Path) -> "dict[str, Tensor]":
    """The tensors in the network's order, once names and shapes are the network's."""
    import torch

    from cmt_search.builder import CMT

    with torch.device("meta"):
        own = CMT(arch).state_dict()
    for name in (*own, *state):
        if name not in state or name not in own:
            how = "is missing" if name not in state else "is not of the network"
            raise ExportError(f"{file}: {name} {how}; {_HINT}")
        given, wanted = tuple(state[name].shape), tuple(own[name].shape)
        if given != wanted:
            raise ExportError(f"{file}: {name} has shape {given}, the network {wanted}; {_HINT}")
    return {name: state[name] for name in own}
