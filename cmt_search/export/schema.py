"""JSON Schemas of exported YAML files, for editors: made from the values that the code knows."""

import json
from collections.abc import Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any

from cmt_search.arch import POSITIONS, Arch, Stage
from cmt_search.errors import ExportError
from cmt_search.export import family, variant
from cmt_search.export.checksums import CHECKSUMS
from cmt_search.io import atomic_write

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_COUNT = {"type": "integer", "minimum": 1}
_RATIO = {"type": "number", "exclusiveMinimum": 0}
_KEY = {"type": "string", "pattern": "^[0-9a-f]{12}$", "description": "hash of the network"}

_CHECKSUM = {"type": "string", "pattern": "^[0-9a-f]{16}$"}

STAGE_FIELDS: Mapping[str, dict[str, Any]] = MappingProxyType(
    {
        "depth": {**_COUNT, "description": "blocks"},
        "width": {**_COUNT, "description": "channels, divisible by heads"},
        "heads": {**_COUNT, "description": "attention heads"},
        "kv_stride": {**_COUNT, "description": "stride on keys and values; 1 is plain attention"},
        "mlp_ratio": {**_RATIO, "description": "hidden channels of the IRFFN / width"},
        "qk_ratio": {**_RATIO, "maximum": 8, "description": "channels of queries and keys / width"},
    }
)
ARCH_FIELDS: Mapping[str, dict[str, Any]] = MappingProxyType(
    {
        "resolution": {**_COUNT, "description": "input side, pixels"},
        "stem_width": {**_COUNT, "description": "channels of the stem"},
        "stages": {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/stage"}},
        "stem_stride": {**_COUNT, "description": "stride of the first convolution"},
        "neck_width": {**_COUNT, "description": "channels before the classifier"},
        "position": {"enum": list(POSITIONS), "description": "who has tables of position biases"},
        "in_chans": {**_COUNT, "description": "image channels"},
        "num_classes": {"type": "integer", "minimum": 0, "description": "0: no classifier"},
    }
)
_COSTS = {
    "params": {**_COUNT, "description": "trainable scalars"},
    "macs": {**_COUNT, "description": "multiply-accumulates of one image"},
    "activations": {**_COUNT, "description": "elements of convolution and linear outputs"},
}


def variant_schema() -> dict[str, Any]:
    """Of the file that `cmt-search export --format yaml` writes."""
    properties = {
        "format": {"const": variant.FORMAT},
        "version": {"const": variant.VERSION},
        "name": {"type": "string", "description": "of the file, and in timm"},
        **_COSTS,
        "arch": {"$ref": "#/$defs/arch"},
        "provenance": {"type": "object", "description": "where the network comes from"},
        "key": _KEY,
    }
    title = "A network exported by cmt_search"
    return _schema("variant", title=title, version=variant.VERSION, properties=properties)


def family_schema() -> dict[str, Any]:
    """Of the file that `cmt-search family` writes."""
    shares = {
        "type": "object",
        "description": "of the growth in log MACs",
        "required": ["depth", "width", "resolution"],
    }
    member = {
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            "budget": {**_COUNT, "description": "MACs asked for"},
            **_COSTS,
            "realised_shares": {"type": ["array", "null"], "items": {"type": "number"}},
            "arch": {"$ref": "#/$defs/arch"},
            "key": _KEY,
        },
        "required": ["name", "arch", "key", *_COSTS],
    }
    properties = {
        "format": {"const": family.FORMAT},
        "version": {"const": family.VERSION},
        "evidence": {"type": "object", "description": "what the rule rests on"},
        "rule": {"type": "string"},
        "shares": shares,
        "stage_ratio": {"type": ["number", "null"]},
        "constants": {"type": "object", "description": "factors per step of phi"},
        "base": {"type": "object", "description": "the network that the rule grows"},
        "members": {"type": "array", "items": member},
        "missing": {"type": "object", "description": "why a budget has no member"},
        "beside": {"type": "array", "description": "other rules' families, for comparison"},
    }
    title = "A family solved by cmt_search"
    return _schema("family", title=title, version=family.VERSION, properties=properties)


SCHEMAS = MappingProxyType(
    {"variant.schema.json": variant_schema, "family.schema.json": family_schema}
)


def write_schemas(folder: Path) -> tuple[Path, ...]:
    """Write every schema under its name.

    Raises:
        ExportError: a file cannot be written.
    """
    try:
        return tuple(
            atomic_write(folder / name, json.dumps(schema(), indent=2) + "\n")
            for name, schema in SCHEMAS.items()
        )
    except OSError as error:
        raise ExportError(f"{folder} cannot be written ({error}); choose another") from error


def _schema(
    name: str, *, title: str, version: int, properties: Mapping[str, Any]
) -> dict[str, Any]:
    checksums = {
        "type": "object",
        "description": "checksum of every field",
        "properties": dict.fromkeys(properties, _CHECKSUM),
        "required": list(properties),
        "additionalProperties": False,
    }
    return {
        "$schema": _DIALECT,
        "$id": f"urn:cmt_search:{name}:{version}",
        "title": title,
        "type": "object",
        "properties": {**properties, CHECKSUMS: checksums},
        "required": [*properties, CHECKSUMS],
        "additionalProperties": False,
        "$defs": {"arch": _values(Arch, ARCH_FIELDS), "stage": _values(Stage, STAGE_FIELDS)},
    }


def _values(of: type[Arch] | type[Stage], described: Mapping[str, Any]) -> dict[str, Any]:
    """A dataclass as an object with the same required fields and defaults."""
    properties = {}
    for field in fields(of):
        default = {} if field.default is MISSING else {"default": field.default}
        properties[field.name] = {**described[field.name], **default}
    required = [field.name for field in fields(of) if field.default is MISSING]
    return {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }
