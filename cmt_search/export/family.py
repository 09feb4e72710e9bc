"""A family as one YAML file: the rule, its members, and what the rule rests on."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from cmt_search.arch import Arch
from cmt_search.atomic import write_whole
from cmt_search.errors import CmtSearchError, ExportError
from cmt_search.export.variant import Variant
from cmt_search.scaling import Family

FORMAT = "cmt_search/family"
VERSION = 1


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

    Other rules' families are kept `beside` it for comparison; they are not read back. The keys of
    the members come last: a file that was cut short has none.

    Raises:
        ExportError: the file cannot be written.
    """
    data = family.to_dict()
    data["members"] = [
        {"name": names[member.budget.macs], **row}
        for member, row in zip(family.members, data["members"], strict=True)
    ]
    whole = {
        "format": FORMAT,
        "version": VERSION,
        "evidence": dict(evidence),
        **data,
        "missing": dict(missing),
        "beside": [other.to_dict() for other in beside],
        "keys": [member.arch.key for member in family.members],
    }
    try:
        return write_whole(path, yaml.safe_dump(whole, sort_keys=False, width=100))
    except OSError as error:
        raise ExportError(f"{path} cannot be written ({error}); choose another folder") from error


def read_family(path: Path) -> tuple[Variant, ...]:
    """The members of a family file as variants.

    Raises:
        ExportError: there is no such file, or it was changed; the member is named.
    """
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ExportError(f"{path} does not exist; write it with `cmt-search family`") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ExportError(f"{path} cannot be read ({error}); write it again") from None
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise ExportError(f"{path} holds no family; write it with `cmt-search family`")
    if data.get("version") != VERSION:
        raise ExportError(
            f"{path}: version={data.get('version')!r} is not {VERSION}; write it again"
        )
    rows = data.get("members")
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ExportError(f"{path}: members is no list of networks; write the family again")
    for name in ("rule", "shares", "evidence", "keys"):
        if name not in data:
            raise ExportError(
                f"{path}: {name} is missing, so the file was changed or cut short; "
                "write the family again"
            )
    origin = {key: data[key] for key in ("rule", "shares", "evidence")}
    members = tuple(_member(row, origin=origin, where=f"{path}: {row.get('name')}") for row in rows)
    if data["keys"] != [member.arch.key for member in members]:
        raise ExportError(
            f"{path}: keys={data['keys']!r} are not those of its members; write the family again"
        )
    return members


def _member(row: Mapping[str, Any], *, origin: Mapping[str, Any], where: str) -> Variant:
    provenance = {**origin, "budget": row.get("budget"), "realised": row.get("realised_shares")}
    try:
        variant = Variant(name=row["name"], arch=Arch.from_dict(row["arch"]), provenance=provenance)
    except KeyError as error:
        raise ExportError(f"{where}: {error.args[0]} is missing; write the family again") from error
    except (CmtSearchError, TypeError) as error:
        raise ExportError(f"{where}: {error}; write the family again") from error
    variant.check(row, where=where)
    return variant
