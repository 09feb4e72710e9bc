"""Exported variants under names of their own in timm, and the package that does it."""

import importlib
import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch

import cmt_search
from cmt_search.errors import ExportError
from cmt_search.export import Source, export, write_family, write_package
from cmt_search.presets import PRESETS
from cmt_search.scaling import Family, named_rule
from tests.builder.tiny import TINY
from tests.export.conftest import variant


def family_file(folder: Path) -> Path:
    family = Family.of(named_rule("dwr", base=PRESETS["cmt_pico"]), budgets=[1.5e6, 3e6])
    names = {m.budget.macs: f"dwr-{m.budget.macs / 1e6}M" for m in family.members}
    path = folder / "family.yaml"
    return write_family(family, path=path, names=names, evidence={}, missing={})


def test_one_line_registers_a_family(tmp_path: Path) -> None:
    names = cmt_search.register(family_file(tmp_path), prefix="t1-")
    assert names == ("t1_dwr_1_5m", "t1_dwr_3_0m")
    rule = named_rule("dwr", base=PRESETS["cmt_pico"])
    model = timm.create_model("t1_dwr_3_0m", num_classes=7)
    assert model.arch == replace(rule.member(3e6).arch, num_classes=7)
    assert set(timm.list_models("t1_*")) == set(names)
    assert cmt_search.register(tmp_path / "family.yaml", prefix="t1-") == names


def test_a_folder_with_weights_registers_them_too(learned: Source, tmp_path: Path) -> None:
    folder = export(learned, format="timm", folder=tmp_path)
    (name,) = cmt_search.register(folder, prefix="t2_")
    model = timm.create_model(name, pretrained=True).eval()
    assert torch.equal(model(learned.images), learned.logits)
    assert model.pretrained_cfg["mean"] == [0.28]
    assert timm.list_models("t2_*", pretrained=True) == [name]


def test_a_network_without_weights_is_not_listed_as_pretrained(
    fresh: Source, tmp_path: Path
) -> None:
    (name,) = cmt_search.register(export(fresh, format="timm", folder=tmp_path), prefix="t4_")
    assert timm.list_models("t4_*") == [name]
    assert timm.list_models("t4_*", pretrained=True) == []


def test_names_that_are_taken_are_refused(fresh: Source, tmp_path: Path) -> None:
    other = Source(variant=variant(replace(TINY, neck_width=20), name="best-1-5G"))
    files = [export(source, format="yaml", folder=tmp_path) for source in (fresh, other)]
    with pytest.raises(ExportError, match=r"best-1-5G and best-1\.5G would both be t3_best_1_5g"):
        cmt_search.register(*files, prefix="t3_")
    cmt_search.register(files[0], prefix="t3_")
    with pytest.raises(ExportError, match=r"timm has another network under 't3_best_1_5g'"):
        cmt_search.register(files[1], prefix="t3_")
    resnet = export(
        Source(variant=variant(name="resnet18")), format="yaml", folder=tmp_path / "more"
    )
    with pytest.raises(ExportError, match="timm has another network under 'resnet18'"):
        cmt_search.register(resnet)
    number = export(Source(variant=variant(name="64M")), format="yaml", folder=tmp_path / "more")
    with pytest.raises(ExportError, match="'64M' gives no name that timm takes"):
        cmt_search.register(number)


def test_the_package_registers_when_it_is_imported(
    fresh: Source, learned: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Source(variant=variant(name="learned"), weights=learned.weights)
    folder = write_package([fresh, other], folder=tmp_path / "my-models")
    project = tomllib.loads((folder / "pyproject.toml").read_text())
    assert project["project"]["name"] == "my-models"
    assert project["tool"]["setuptools"]["packages"] == ["my_models"]
    monkeypatch.syspath_prepend(str(folder))
    names = importlib.import_module("my_models").NAMES
    sys.modules.pop("my_models")
    assert names == ("best_1_5g", "learned")
    assert timm.create_model("best_1_5g").arch == TINY
    model = timm.create_model("learned", pretrained=True).eval()
    assert torch.equal(model(learned.images), learned.logits)


def test_a_package_is_overwritten_only_on_demand(fresh: Source, tmp_path: Path) -> None:
    folder = write_package([fresh], folder=tmp_path / "pkg")
    assert write_package([fresh], folder=folder) == folder
    other = Source(variant=variant(replace(TINY, neck_width=20)))
    with pytest.raises(ExportError, match=r"best-1\.5G\.yaml exists and holds something else"):
        write_package([other], folder=folder)
    write_package([other], folder=folder, force=True)
    assert cmt_search.load(folder / "pkg" / "best-1.5G.yaml") == other.variant.arch


def test_a_package_needs_a_name_for_its_module(fresh: Source, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"'1st' .*letter"):
        write_package([fresh], folder=tmp_path / "1st")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("class", r"'class' .*class_cmt"),
        ("json", r"'json' .*json_cmt"),
        ("torch", r"'torch' is an installed package"),
        (
            "scikit-learn",
            r"'scikit_learn' is an installed package",
        ),
    ],
)
def test_a_package_that_python_could_not_import_is_refused(
    name: str, message: str, fresh: Source, tmp_path: Path
) -> None:
    with pytest.raises(ExportError, match=message):
        write_package([fresh], folder=tmp_path / name)
    assert not (tmp_path / name).exists()


def test_a_package_that_was_installed_may_be_written_again(
    fresh: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_package([fresh], folder=tmp_path / "ours")
    monkeypatch.syspath_prepend(str(tmp_path / "ours"))  # as if installed
    assert write_package([fresh], folder=tmp_path / "ours") == tmp_path / "ours"
    monkeypatch.syspath_prepend(str(tmp_path))  # the folder itself stands where Python looks
    assert write_package([fresh], folder=tmp_path / "ours") == tmp_path / "ours"
