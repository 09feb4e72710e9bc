"""A family as one YAML file: the rule, its members, and what the rule rests on."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from cmt_search.arch import Arch
from cmt_search.errors import CmtSearchError, ExportError
from cmt_search.export.checksums import verify_checksums, with_checksums
from cmt_search.export.provenance import plain
from cmt_search.export.text import read_mapping, yaml_text
from cmt_search.export.variant import Variant, check_version
from cmt_search.io import atomic_write
from cmt_search.scaling import Family

FORMAT = "cmt_search/family"
VERSION = 2  # 1 had no checksums
_AGAIN = "write it again with `cmt-search family`"
_HINT = f"restore the file, or {_AGAIN}"


def write_family(
    family: Family,
    *,
    path: Path,
    names: Mapping[float, str],
    evidence: Mapping[str, Any],
    missing: Mapping[str, str],
    beside: Iterable[Family] = (),
) -> Path:
    """Write the members under `names` (by budget in MACs), and why budgets are `missing`.

    Other rules' families are kept `beside` it for comparison; they are not read back.

    Raises:
        ExportError: the file cannot be written, or `evidence` is not plain; the field is named.
    """
    data = family.to_dict()
    data["members"] = [
        {"name": names[member.budget.macs], **row}
        for member, row in zip(family.members, data["members"], strict=True)
    ]
    whole = {
        "format": FORMAT,
        "version": VERSION,
        "evidence": plain(evidence, where="evidence"),
        **data,
        "missing": dict(missing),
        "beside": [other.to_dict() for other in beside],
    }
    try:
        return atomic_write(path, yaml_text(with_checksums(whole)))
    except OSError as error:
        raise ExportError(f"{path} cannot be written ({error}); choose another folder") from error


def read_family(path: Path | str) -> tuple[Variant, ...]:
    """The members of a family file as variants.

    Raises:
        ExportError: there is no such file, or it was changed; the field is named.
    """
    file = Path(path)
    if not file.exists():
        raise ExportError(f"{file} does not exist; write it with `cmt-search family`")
    return variants_in_family(read_mapping(file), file=file)


def variants_in_family(data: Mapping[str, Any], *, file: Path) -> tuple[Variant, ...]:
    """The members in the values of a family file.

    Raises:
        ExportError: it is none, or was changed; the field is named.
    """
    if data.get("format") != FORMAT:
        raise ExportError(f"{file}: holds no family; write it with `cmt-search family`")
    check_version(data.get("version"), wanted=VERSION, where=str(file), hint=_AGAIN)
    verify_checksums(data, where=str(file), hint=_HINT)
    try:
        origin = {key: data[key] for key in ("rule", "shares", "evidence")}
        rows = [(f"{file}: {row['name']}", row) for row in data["members"]]
    except (KeyError, TypeError) as error:  # written so by another program
        raise ExportError(f"{file}: {error} is missing or of another kind; {_HINT}") from error
    return tuple(_member(row, origin=origin, where=where) for where, row in rows)


def _member(row: Mapping[str, Any], *, origin: Mapping[str, Any], where: str) -> Variant:
    provenance = {**origin, "budget": row.get("budget"), "realised": row.get("realised_shares")}
    try:
        variant = Variant(name=row["name"], arch=Arch.from_dict(row["arch"]), provenance=provenance)
    except KeyError as error:
        raise ExportError(f"{where}: {error.args[0]} is missing; {_HINT}") from error
    except CmtSearchError as error:
        raise ExportError(f"{where}: {error}; {_HINT}") from error
    variant.check(row, where=where)
    return variant
