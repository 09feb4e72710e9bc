"""Family files: the members come back, and what was changed is noticed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from cmt_search import load
from cmt_search.errors import ExportError
from cmt_search.export import read_family, write_family
from cmt_search.presets import PRESETS
from cmt_search.scaling import Family, named_rule
from tests.export.conftest import edited


@pytest.fixture
def file(tmp_path: Path) -> Path:
    family = Family.of(named_rule("dwr", base=PRESETS["cmt_pico"]), budgets=[1.5e6, 3e6])
    names = {m.budget.macs: f"dwr-{m.budget.macs:.0f}" for m in family.members}
    path = tmp_path / "family.yaml"
    return write_family(family, path=path, names=names, evidence={"word": "tie"}, missing={})


def test_a_family_comes_back_as_its_members(file: Path) -> None:
    members = read_family(file)
    rule = named_rule("dwr", base=PRESETS["cmt_pico"])
    assert [m.name for m in members] == ["dwr-1500000", "dwr-3000000"]
    assert [m.arch for m in members] == [rule.member(1.5e6).arch, rule.member(3e6).arch]
    assert members[0].provenance["evidence"] == {"word": "tie"}
    assert members[1].provenance["budget"] == 3_000_000


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d["members"][1].update(macs=7), r"dwr-3000000: macs=7, but its arch gives"),
        (lambda d: d["members"][1].pop("arch"), r"dwr-3000000: arch is missing"),
        (lambda d: d["members"][0].update(arch=3), r"dwr-1500000: arch=3 is not a mapping"),
        (lambda d: d["members"].pop(), r"keys=\[.*\] are not those of its members"),
        (lambda d: d.pop("keys"), r"keys is missing, so the file was changed or cut short"),
        (lambda d: d.pop("evidence"), r"evidence is missing"),
        (lambda d: d.update(members=3), r"members is no list of networks"),
        (lambda d: d.update(version=9), r"version=9 is not 1"),
        (lambda d: d.update(format="x"), r"holds no family"),
    ],
)
def test_a_changed_family_is_refused_by_the_field(
    change: Callable[[dict[str, Any]], object], message: str, file: Path
) -> None:
    with pytest.raises(ExportError, match=message) as caught:
        read_family(edited(file, change))
    assert str(file) in str(caught.value)


@pytest.mark.parametrize("part", [0.1, 0.5, 0.9, 0.99])
def test_a_truncated_family_is_refused(part: float, file: Path) -> None:
    text = file.read_text()
    file.write_text(text[: int(part * len(text))])
    with pytest.raises(ExportError, match=r"cannot be read|is missing|is no list|keys="):
        read_family(file)


def test_a_missing_family_names_the_command_that_writes_it(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"does not exist; write it with `cmt-search family`"):
        read_family(tmp_path / "family.yaml")


def test_a_family_is_no_single_network(file: Path) -> None:
    with pytest.raises(ExportError, match=r"is a family; export one of its members \(dwr-"):
        load(file)


def test_a_family_that_cannot_be_written_leaves_the_one_before(file: Path) -> None:
    before = file.read_bytes()
    family = Family.of(named_rule("dwr", base=PRESETS["cmt_pico"]), budgets=[1.5e6])
    bad = {family.members[0].budget.macs: "x"}
    with pytest.raises(ExportError, match=r"cannot be written .* choose another folder"):
        write_family(family, path=file / "y.yaml", names=bad, evidence={}, missing={})
    with pytest.raises(yaml.YAMLError):
        write_family(family, path=file, names=bad, evidence={"x": object()}, missing={})
    assert file.read_bytes() == before
