"""A family as one YAML file: the rule, its members, and what the rule rests on."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from cmt_search.errors import ExportError
from cmt_search.export.provenance import plain
from cmt_search.export.variant import SCHEMA_VERSION, NamedNetwork, Variant, validate
from cmt_search.export.yaml_io import read_mapping, yaml_text
from cmt_search.io import atomic_write
from cmt_search.scaling import Family

FORMAT: Final = "cmt_search/family"


class FamilyMember(NamedNetwork):
    """A member of a family file."""

    budget: int | None = Field(None, ge=1, description="target MACs")
    realised_shares: list[float] | None = None
    residual: float | None = None
    latency_ms: float | None = None
    notes: list[str] = Field(default_factory=list)


class FamilyFile(BaseModel):
    """The file that `cmt-search family` writes."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    format: Literal["cmt_search/family"] = FORMAT
    schema_version: Literal[3] = SCHEMA_VERSION
    evidence: dict[str, Any] = Field(default_factory=dict, description="what the rule rests on")
    rule: str
    shares: dict[Literal["depth", "width", "resolution"], float] = Field(
        description="of the growth in log MACs"
    )
    stage_ratio: float | None = None
    constants: dict[str, Any] = Field(default_factory=dict, description="factors per step of phi")
    base: dict[str, Any] = Field(
        default_factory=dict, description="the network that the rule scales"
    )
    members: list[FamilyMember]
    missing: dict[str, str] = Field(default_factory=dict, description="why a budget has no member")
    beside: list[dict[str, Any]] = Field(
        default_factory=list, description="families of other rules, for comparison"
    )


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

    Families of other rules are written `beside` it for comparison; they are not read back.

    Raises:
        ExportError: the file cannot be written, or `evidence` is not plain; the field is named.
    """
    data = family.to_dict()
    data["members"] = [
        {"name": names[member.budget.macs], **row}
        for member, row in zip(family.members, data["members"], strict=True)
    ]
    content = {
        "format": FORMAT,
        "schema_version": SCHEMA_VERSION,
        "evidence": plain(evidence, where="evidence"),
        **data,
        "missing": dict(missing),
        "beside": [other.to_dict() for other in beside],
    }
    validate(FamilyFile, content, where=str(path))
    try:
        return atomic_write(path, yaml_text(content))
    except OSError as error:
        raise ExportError(f"{path} cannot be written ({error}); choose another folder") from error


def read_family(path: Path | str) -> tuple[Variant, ...]:
    """Read the members of a family file as variants.

    Raises:
        ExportError: the file is missing, or a field is impossible; it is named.
    """
    file = Path(path)
    if not file.exists():
        raise ExportError(f"{file} does not exist; write it with `cmt-search family`")
    return parse_family(read_mapping(file), file=file)


def is_family(data: Mapping[str, Any]) -> bool:
    """Whether the values of a file are a family's."""
    return data.get("format") == FORMAT or "members" in data


def parse_family(data: Mapping[str, Any], *, file: Path) -> tuple[Variant, ...]:
    """Read the members in the values of a family file.

    Raises:
        ExportError: it holds no family, or a field is impossible; it is named.
    """
    if not is_family(data):
        raise ExportError(f"{file}: holds no family; write it with `cmt-search family`")
    family = validate(FamilyFile, data, where=str(file))
    return tuple(_variant(member, family=family, file=file) for member in family.members)


def _variant(member: FamilyMember, *, family: FamilyFile, file: Path) -> Variant:
    member.warn_of_differences(where=f"{file}: {member.name}")
    provenance = {
        "rule": family.rule,
        "shares": dict(family.shares),
        "evidence": family.evidence,
        "budget": member.budget,
        "realised": member.realised_shares,
    }
    try:
        return Variant(name=member.name, arch=member.arch, provenance=provenance)
    except ExportError as error:
        raise ExportError(f"{file}: {member.name}: {error}") from error
