"""Descriptions of networks in YAML and JSON, read as plain values: nothing in them is run."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from cmt_search.arch import Arch
from cmt_search.errors import CmtSearchError, ExportError
from cmt_search.export.variant import Variant

TRAINING = "cmt_search.training/1"  # train.json of `cmt-search train`


def read_mapping(file: Path) -> dict[str, Any]:
    """The values in a file of YAML, of which JSON is a part.

    Raises:
        ExportError: it cannot be read, is broken, or holds no mapping.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ExportError(
            f"{file}: cannot be read ({error}); give an exported YAML file or timm folder"
        ) from None
    try:
        data = yaml.safe_load(text)  # JSON is YAML
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        what = " ".join(str(error).split())  # YAML explains itself over several lines
        raise ExportError(f"{file}: is broken ({what}); export the variant again") from None
    if not isinstance(data, dict):
        raise ExportError(f"{file}: holds no description of a network; export the variant again")
    return data


def variant_in(data: Mapping[str, Any], *, file: Path) -> Variant:
    """The variant that plain values describe, by whichever of our files they come from.

    Raises:
        ExportError: they describe none, or were changed; the field is named.
    """
    try:
        if "members" in data:
            names = ", ".join(str(m.get("name", m.get("key"))) for m in data["members"])
            raise ExportError(f"{file}: is a family; export one of its members ({names})")
        if "cmt_search" in data:
            return _timm_variant(data, file=file)
        if data.get("format") == TRAINING:
            arch = Arch.from_dict(data["plan"]["arch"])
            return Variant(name=file.parent.name, arch=arch, provenance={"training": str(file)})
        if "format" in data:
            return Variant.from_dict(data, where=str(file))
        return Variant(name=file.stem, arch=Arch.from_dict(data.get("arch", data)))
    except ExportError:
        raise
    except CmtSearchError as error:
        raise ExportError(f"{file}: {error}") from error
    except KeyError as error:
        raise ExportError(f"{file}: {error.args[0]} is missing; write the file again") from error
    except (TypeError, AttributeError, ValueError) as error:  # a value of another kind
        raise ExportError(f"{file}: is no exported variant ({error}); export it again") from error


def _timm_variant(data: Mapping[str, Any], *, file: Path) -> Variant:
    variant = Variant.from_dict(data["cmt_search"], where=str(file))
    if Arch.from_dict(data.get("model_args", {}).get("arch")) != variant.arch:
        raise ExportError(
            f"{file}: model_args.arch is not the network that cmt_search.arch describes; "
            "restore the file, or export the variant again"
        )
    classes = data.get("num_classes")
    if classes != variant.arch.num_classes:
        raise ExportError(
            f"{file}: num_classes={classes!r}, but cmt_search.arch has "
            f"{variant.arch.num_classes}; restore the file, or export the variant again"
        )
    return variant
