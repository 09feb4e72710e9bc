"""The variant that plain values describe, by whichever of our files they come from."""

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from cmt_search.arch import Arch
from cmt_search.errors import ArchError, ExportError
from cmt_search.export import family
from cmt_search.export.checksums import verify_fields
from cmt_search.export.noted import check_noted
from cmt_search.export.variant import FORMAT, HINT, Variant

BLOCK = "cmt_search"  # of config.json: the variant, and the checksums of what timm reads
CONFIG_CHECKSUMS = "config"
TRAINING = "cmt_search.training/2"  # train.json of `cmt-search train`


def variant_in(data: Mapping[str, Any], *, file: Path) -> Variant:
    """The variant that plain values describe, once the weights that they note are there, whole.

    Raises:
        ExportError: they describe none, or were changed; the field is named.
    """
    if data.get("format") == family.FORMAT:
        members = family.variants_in_family(data, file=file)
        names = ", ".join(member.name for member in members)
        raise ExportError(f"{file}: is a family; export one of its members ({names})")
    if BLOCK in data or "architecture" in data:
        return _of_config(data, file=file)
    if data.get("format") == TRAINING:
        return _of_training(data, file=file)
    if "format" in data:
        return Variant.from_dict(data, where=str(file))
    return _of_arch_alone(data, file=file)


def _of_config(data: Mapping[str, Any], *, file: Path) -> Variant:
    """Our block has the checksums of the fields that timm reads."""
    if BLOCK not in data:
        raise ExportError(
            f"{file}: {BLOCK} is missing, so it was changed, or `cmt-search export` did not write "
            "it; give an exported folder"
        )
    block = data[BLOCK]
    variant = Variant.from_dict(block, where=f"{file}: {BLOCK}")
    rest = {name: value for name, value in data.items() if name != BLOCK}
    expected = block.get(CONFIG_CHECKSUMS)
    verify_fields(rest, expected, where=str(file), key=f"{BLOCK}.{CONFIG_CHECKSUMS}", hint=HINT)
    check_noted(block.get("weights"), description=file)
    return variant


def _of_training(data: Mapping[str, Any], *, file: Path) -> Variant:
    hint = "restore the file, or train again"
    check_noted(data.get("weights"), description=file)
    plan = data.get("plan")
    if not isinstance(plan, Mapping) or "arch" not in plan:
        raise ExportError(f"{file}: plan.arch is missing; {hint}")
    return Variant(
        name=file.parent.name,
        arch=_arch(plan["arch"], file=file),
        provenance={"training": str(file)},
    )


def _of_arch_alone(data: Mapping[str, Any], *, file: Path) -> Variant:
    """A file that people write; other fields need a format and checksums."""
    arch = data["arch"] if set(data) == {"arch"} else data
    known = {field.name for field in fields(Arch)}
    more = next((str(name) for name in arch if name not in known), None) if arch is data else None
    if more is not None:
        raise ExportError(
            f"{file}: {more} is no field of an arch alone, and without `format: {FORMAT}` and its "
            f"checksums the other fields cannot be verified; {HINT}"
        )
    return Variant(name=file.stem, arch=_arch(arch, file=file))


def _arch(data: Any, *, file: Path) -> Arch:
    try:
        return Arch.from_dict(data)
    except ArchError as error:
        raise ExportError(f"{file}: {error}") from error
