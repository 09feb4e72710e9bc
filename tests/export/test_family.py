"""Family files: the members come back, and what was changed is noticed."""

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
from tests.export.damage import refusals


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
        (lambda d: d.update(rule="mine"), "mismatch in field 'rule'"),
        (lambda d: d["shares"].update(depth=0.5), "mismatch in field 'shares'"),
        (lambda d: d.update(constants=None), "mismatch in field 'constants'"),
        (lambda d: d["base"].update(macs=1), "mismatch in field 'base'"),
        (lambda d: d["evidence"].update(status="better"), "mismatch in field 'evidence'"),
        (lambda d: d["members"][0].update(budget="x"), "mismatch in field 'members'"),
        (lambda d: d["members"][0].update(name="other"), "mismatch in field 'members'"),
        (lambda d: d["members"][1].update(macs=7), "mismatch in field 'members'"),
        (lambda d: d["members"].pop(), "mismatch in field 'members'"),
        (lambda d: d.update(members=3), "mismatch in field 'members'"),
        (lambda d: d.update(beside=3), "mismatch in field 'beside'"),
        (lambda d: d.pop("evidence"), "evidence is missing"),
        (lambda d: d.pop("checksums"), "checksums is missing: the file was modified or truncated"),
        (lambda d: d.update(version=9), "version=9 was written by a newer version"),
        (
            lambda d: (d.pop("checksums"), d.update(version=1)),
            "version=1 was written by an older ver",
        ),
        (lambda d: d.update(format="x"), "holds no family"),
    ],
)
def test_a_changed_family_is_refused_by_the_field(
    change: Callable[[dict[str, Any]], object], message: str, file: Path
) -> None:
    with pytest.raises(ExportError, match=message) as caught:
        read_family(edited(file, change))
    assert str(file) in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d["members"][1].update(macs=7), "dwr-3000000: macs=7, but its arch gives"),
        (lambda d: d["members"][1].pop("arch"), "dwr-3000000: arch is missing"),
        (lambda d: d["members"][0].update(arch=3), "dwr-1500000: arch=3 is not a mapping"),
        (lambda d: d["members"][0].update(realised_shares="x"), "realised='x' is no list of num"),
        (lambda d: d["members"][0].pop("name"), "'name' is missing or of another kind"),
        (lambda d: d.update(members=3), "is missing or of another kind"),
    ],
)
def test_what_another_program_wrote_with_checksums_is_checked_as_well(
    change: Callable[[dict[str, Any]], object], message: str, file: Path
) -> None:
    with pytest.raises(ExportError, match=message):
        read_family(edited(file, change, with_new_checksums=True))


def test_a_damaged_family_is_refused_or_gives_the_same(file: Path) -> None:
    members = read_family(file)
    found = refusals(file, read=lambda: read_family(file), same=members.__eq__, places=30)
    assert found > 20, "most of the damage shows"


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
