"""The published JSON Schemas are those of the code, and take what is exported."""

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml

from cmt_search.arch import Arch, Stage
from cmt_search.export import SCHEMAS, Source, export, write_family, write_schemas
from cmt_search.export.schema import DESCRIPTIONS, json_schema
from cmt_search.presets import PRESETS
from cmt_search.scaling import Family, named_rule

jsonschema = pytest.importorskip("jsonschema")
PUBLISHED = Path(__file__).parents[2] / "docs" / "schema"


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_published_schema_is_the_code_s(name: str, tmp_path: Path) -> None:
    fresh = {path.name: path.read_text() for path in write_schemas(tmp_path)}
    told = "write it again: python -c 'from pathlib import Path; from cmt_search.export import "
    told += 'write_schemas; write_schemas(Path("docs/schema"))\''
    assert (PUBLISHED / name).read_text() == fresh[name], told
    jsonschema.Draft202012Validator.check_schema(json.loads(fresh[name]))


def check(name: str, data: Any) -> list[str]:
    validator = jsonschema.Draft202012Validator(json_schema(SCHEMAS[name]))
    return [error.message for error in validator.iter_errors(data)]


def test_an_exported_variant_is_valid_and_a_misspelt_one_is_not(
    fresh: Source, tmp_path: Path
) -> None:
    data = yaml.safe_load(export(fresh, format="yaml", folder=tmp_path).read_text())
    assert check("variant.schema.json", data) == []
    data["arch"]["stages"][0]["dept"] = data["arch"]["stages"][0].pop("depth")
    assert sorted(check("variant.schema.json", data)) == [
        "'depth' is a required property",
        "Additional properties are not allowed ('dept' was unexpected)",
    ]
    assert check("variant.schema.json", {"name": "x", "arch": PRESETS["cmt_pico"].to_dict()}) == []
    assert "'arch' is a required property" in check("variant.schema.json", {"name": "x"})


def test_a_written_family_is_valid_and_a_changed_one_is_not(tmp_path: Path) -> None:
    family = Family.of(named_rule("dwr", base=PRESETS["cmt_pico"]), budgets=[4.5e5, 3e6])
    names = {m.budget.macs: f"dwr-{m.budget.macs:.0f}" for m in family.members}
    path = tmp_path / "family.yaml"
    write_family(
        family, path=path, names=names, evidence={}, missing={"1M": "why"}, beside=[family]
    )
    data = yaml.safe_load(path.read_text())
    assert check("family.schema.json", data) == []
    data["members"][0]["macs"] = "many"
    assert check("family.schema.json", data) == [
        "'many' is not valid under any of the given schemas"
    ]


@pytest.mark.parametrize("of", [Arch, Stage])
def test_every_field_of_a_network_is_described(of: type) -> None:
    assert {field.name for field in fields(of)} == set(DESCRIPTIONS[of.__name__])
