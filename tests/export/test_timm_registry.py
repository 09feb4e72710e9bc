"""Exported variants under names of their own in timm."""

from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch

import cmt_search
from cmt_search.errors import ExportError
from cmt_search.export import Source, export, write_family
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


def test_a_folder_with_weights_after_a_file_of_the_same_network_adds_them(
    learned: Source, tmp_path: Path
) -> None:
    file, folder = (export(learned, format=kind, folder=tmp_path) for kind in ("yaml", "timm"))
    (name,) = cmt_search.register(file, prefix="t5_")
    assert timm.list_models("t5_*", pretrained=True) == []
    for path in (folder, file):  # the file again takes nothing away
        assert cmt_search.register(path, prefix="t5_") == (name,)
        model = timm.create_model(name, pretrained=True).eval()
        assert torch.equal(model(learned.images), learned.logits)
        assert timm.list_models("t5_*", pretrained=True) == [name]


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
