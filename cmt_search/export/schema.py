"""JSON Schemas of exported YAML files, for editors: those of the pydantic models."""

import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel

from cmt_search.errors import ExportError
from cmt_search.export.family import FamilyFile
from cmt_search.export.variant import SCHEMA_VERSION, VariantFile
from cmt_search.io import atomic_write

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
DESCRIPTIONS: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "Stage": {
            "depth": "blocks",
            "width": "channels, divisible by heads",
            "heads": "attention heads",
            "kv_stride": "stride on keys and values; 1 is plain attention",
            "mlp_ratio": "hidden channels of the IRFFN / width",
            "qk_ratio": "channels of queries and keys / width",
        },
        "Arch": {
            "resolution": "input side, pixels",
            "stem_width": "channels of the stem",
            "stages": "stages, from the input to the output",
            "stem_stride": "stride of the first convolution",
            "neck_width": "channels before the classifier",
            "position": "position tables: per stage, per block, or none",
            "in_chans": "image channels",
            "num_classes": "0: no classifier",
        },
    }
)
SCHEMAS: Mapping[str, type[BaseModel]] = MappingProxyType(
    {"variant.schema.json": VariantFile, "family.schema.json": FamilyFile}
)


def json_schema(model: type[BaseModel]) -> dict[str, Any]:
    """Return the JSON Schema of a file; networks have described fields and no unknown ones."""
    schema = model.model_json_schema()
    for name, described in DESCRIPTIONS.items():
        network = schema["$defs"][name]
        network["additionalProperties"] = False
        network["description"] = network["description"].split("\n")[0]
        for field, text in described.items():
            network["properties"][field]["description"] = text
    name = model.__name__.removesuffix("File").lower()
    return {"$schema": _DIALECT, "$id": f"urn:cmt_search:{name}:{SCHEMA_VERSION}", **schema}


def write_schemas(folder: Path) -> tuple[Path, ...]:
    """Write every schema under its name.

    Raises:
        ExportError: a file cannot be written.
    """
    try:
        return tuple(
            atomic_write(folder / name, json.dumps(json_schema(model), indent=2) + "\n")
            for name, model in SCHEMAS.items()
        )
    except OSError as error:
        raise ExportError(f"{folder} cannot be written ({error}); choose another") from error
