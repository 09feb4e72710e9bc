"""Family files: the members come back, and impossible fields are refused."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cmt_search import load
from cmt_search.errors import ExportError
from cmt_search.export import load_variant, read_family, write_family
from cmt_search.presets import PRESETS
from cmt_search.scaling import Family, named_rule
from tests.export.conftest import edited


@pytest.fixture
def file(tmp_path: Path) -> Path:
    family = Family.of(named_rule("dwr", base=PRESETS["cmt_pico"]), budgets=[1.5e6, 3e6])
    names = {m.budget.macs: f"dwr-{m.budget.macs:.0f}" for m in family.members}
    path = tmp_path / "family.yaml"
    return write_family(family, path=path, names=names, evidence={"status": "tie"}, missing={})


def test_a_family_comes_back_as_its_members(file: Path) -> None:
    members = read_family(file)
    rule = named_rule("dwr", base=PRESETS["cmt_pico"])
    assert [m.name for m in members] == ["dwr-1500000", "dwr-3000000"]
    assert [m.arch for m in members] == [rule.member(1.5e6).arch, rule.member(3e6).arch]
    assert members[0].provenance["evidence"] == {"status": "tie"}
    assert members[1].provenance["budget"] == 3_000_000


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d["members"][1].pop("arch"), r"members\[1\]\.arch is missing"),
        (lambda d: d["members"][0].update(arch=3), "arch=3 is not a mapping"),
        (lambda d: d["members"][0].update(budget="x"), r"members\[0\]\.budget='x'"),
        (lambda d: d["members"][0].update(realised_shares="x"), r"realised_shares='x'"),
        (lambda d: d["members"][0].pop("name"), r"members\[0\]\.name is missing"),
        (lambda d: d["shares"].update(depth="x"), r"shares\.depth='x'"),
        (lambda d: d.update(members=3), "members=3"),
        (lambda d: d.pop("rule"), "rule is missing"),
        (lambda d: d.update(schema_version=9), "schema_version=9 is not 3"),
        (lambda d: d.update(format="x"), "format='x'"),
        (lambda d: (d.pop("members"), d.update(format="x")), "holds no family"),
    ],
)
def test_an_impossible_field_is_refused_by_its_key(
    change: Callable[[dict[str, Any]], object], message: str, file: Path
) -> None:
    with pytest.raises(ExportError, match=message) as caught:
        read_family(edited(file, change))
    assert str(file) in str(caught.value)


def test_an_edited_member_loads_with_a_warning(file: Path) -> None:
    path = edited(file, lambda d: d["members"][1]["arch"].update(num_classes=100))
    with pytest.warns(UserWarning, match=r"dwr-3000000: .*recomputed: key"):
        members = read_family(path)
    assert members[1].arch.num_classes == 100


def test_a_missing_family_names_the_command_that_writes_it(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"`cmt-search family`"):
        read_family(tmp_path / "family.yaml")


def test_load_gives_the_members_and_load_variant_wants_one(file: Path) -> None:
    assert load(file) == read_family(file)
    with pytest.raises(ExportError, match=r"is a family; export one of its members \(dwr-"):
        load_variant(file)


def test_a_family_that_cannot_be_written_leaves_the_one_before(file: Path) -> None:
    before = file.read_bytes()
    family = Family.of(named_rule("dwr", base=PRESETS["cmt_pico"]), budgets=[1.5e6])
    bad = {family.members[0].budget.macs: "x"}
    with pytest.raises(ExportError, match=r"cannot be written"):
        write_family(family, path=file / "y.yaml", names=bad, evidence={}, missing={})
    with pytest.raises(ExportError, match=r"evidence\.x\[1\]=nan is no plain value"):
        write_family(family, path=file, names=bad, evidence={"x": [0, math.nan]}, missing={})
    assert file.read_bytes() == before
