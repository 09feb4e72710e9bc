"""Variants as files: YAML, and folders that timm builds from."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from cmt_search.arch import Arch
from cmt_search.errors import CmtSearchError, ExportError
from cmt_search.export.variant import Variant

_IMAGENET = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def write_yaml(variant: Variant, *, folder: Path, force: bool = False) -> Path:
    """Write `NAME.yaml`, read it back and compare.

    Raises:
        ExportError: the file exists and holds something else, or the name is no file name.
    """
    text = yaml.safe_dump(variant.to_dict(), sort_keys=False, width=100)
    path = folder / f"{_file_name(variant)}.yaml"
    _write(path, text, force=force)
    _verify(path, variant)
    return path


def write_timm(
    variant: Variant,
    *,
    folder: Path,
    weights: bytes | None = None,
    normalisation: Mapping[str, Any] | None = None,
    force: bool = False,
) -> Path:
    """Write a folder that `timm.create_model("local-dir:FOLDER")` builds, and read it back.

    `weights` are the bytes of a safetensors file of the model's state dict, if there are any.
    `normalisation` holds the mean and std of the images; by default ImageNet's for three channels.

    Raises:
        ExportError: the folder exists and holds something else, or the name is no folder name.
    """
    target = folder / _file_name(variant)
    config = _timm_config(variant, normalisation=normalisation)
    _write(target / "config.json", json.dumps(config, indent=2) + "\n", force=force)
    if weights is not None:
        (target / "model.safetensors").write_bytes(weights)
    _verify(target, variant)
    return target


def load(path: Path | str) -> Arch:
    """The architecture in an exported file or folder, or in any file that holds one.

    Takes a YAML file, a timm folder or its config.json, and a YAML file that is an architecture
    alone. Nothing in it is executed.

    Raises:
        ExportError: it cannot be read, or was changed since it was written; the field is named.
        ArchError: it describes no network.
    """
    return load_variant(path).arch


def load_variant(path: Path | str) -> Variant:
    """The variant in an exported file or folder.

    Raises:
        ExportError, ArchError: as `load`.
    """
    file = Path(path)
    file = file / "config.json" if file.is_dir() else file
    data = _read(file)
    try:
        if "members" in data:
            names = ", ".join(str(m.get("name", m.get("key"))) for m in data["members"])
            raise ExportError(f"{file}: is a family; export one of its members ({names})")
        if "cmt_search" in data:  # a timm config.json
            variant = Variant.from_dict(data["cmt_search"], where=str(file))
            if Arch.from_dict(data.get("model_args", {}).get("arch")) != variant.arch:
                raise ExportError(
                    f"{file}: model_args.arch is not the network that cmt_search.arch describes; "
                    "restore the file, or export the variant again"
                )
            return variant
        if "format" in data:
            return Variant.from_dict(data, where=str(file))
        return Variant(name=file.stem, arch=Arch.from_dict(data.get("arch", data)))
    except ExportError:
        raise
    except CmtSearchError as error:
        raise ExportError(f"{file}: {error}") from error
    except (TypeError, AttributeError, ValueError) as error:  # a value of another kind
        raise ExportError(f"{file}: is no exported variant ({error}); export it again") from error


def _timm_config(variant: Variant, *, normalisation: Mapping[str, Any] | None) -> dict[str, Any]:
    """timm's layout. The key `pretrained_cfg` must be there, or timm drops `model_args`."""
    arch = variant.arch
    half = {"mean": [0.5] * arch.in_chans, "std": [0.5] * arch.in_chans}
    default = _IMAGENET if arch.in_chans == 3 else half
    return {
        "architecture": "cmt",
        "num_classes": arch.num_classes,
        "num_features": arch.neck_width,
        "model_args": {"arch": arch.to_dict()},
        "pretrained_cfg": {
            "num_classes": arch.num_classes,
            "input_size": [arch.in_chans, arch.resolution, arch.resolution],
            "fixed_input_size": True,
            "crop_pct": 0.9,
            "interpolation": "bicubic",
            "first_conv": "stem.0.conv",
            "classifier": "head",
            **(normalisation or default),
        },
        "cmt_search": variant.to_dict(),
    }


def _read(file: Path) -> dict[str, Any]:
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ExportError(
            f"{file}: cannot be read ({error}); give an exported YAML file or timm folder"
        ) from None
    try:
        data = yaml.safe_load(text)  # JSON is YAML
    except yaml.YAMLError as error:
        what = " ".join(str(error).split())  # YAML explains itself over several lines
        raise ExportError(f"{file}: is broken ({what}); export the variant again") from None
    if not isinstance(data, dict):
        raise ExportError(f"{file}: holds no description of a network; export the variant again")
    return data


def _file_name(variant: Variant) -> str:
    if not _NAME.fullmatch(variant.name):
        raise ExportError(
            f"variant name {variant.name!r} is no file name; use letters, digits, '.', '_' and '-'"
        )
    return variant.name


def _write(path: Path, text: str, *, force: bool) -> None:
    """Write a file that is new or the same; the same twice is no overwriting."""
    if path.exists() and not force and not _holds(path, text):
        raise ExportError(
            f"{path} exists and holds something else; add --force, or export to another folder"
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.partial")
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        raise ExportError(f"{path} cannot be written ({error}); choose another folder") from error


def _holds(path: Path, text: str) -> bool:
    try:
        return path.read_text(encoding="utf-8") == text
    except (OSError, UnicodeDecodeError):
        return False


def _verify(path: Path, variant: Variant) -> None:
    """What was written must read back as what was meant."""
    written = load_variant(path)
    assert written.to_dict() == variant.to_dict(), f"{path} reads back as another network"
