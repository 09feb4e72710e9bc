"""Exported files: what goes out comes back, and what was changed is noticed."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

import cmt_search
from cmt_search.cost import cost
from cmt_search.errors import ExportError
from cmt_search.export import (
    Variant,
    load,
    load_variant,
    read_family,
    write_family,
    write_timm,
    write_yaml,
)
from cmt_search.presets import PRESETS
from cmt_search.scaling import Family, named_rule

PICO = replace(PRESETS["cmt_pico"], in_chans=1)
VARIANT = Variant(name="pico-1", arch=PICO, provenance={"run": "demo", "trial": 3})
Writer = Callable[..., Path]


@pytest.mark.parametrize("write", [write_yaml, write_timm])
@pytest.mark.parametrize("name", sorted(PRESETS))
def test_what_was_exported_loads_with_the_same_key_params_and_macs(
    write: Writer, name: str, tmp_path: Path
) -> None:
    path = write(Variant(name=name, arch=PRESETS[name]), folder=tmp_path)
    arch = cmt_search.load(path)
    assert arch == PRESETS[name]
    assert arch.key == PRESETS[name].key
    assert cost(arch) == cost(PRESETS[name])


@pytest.mark.parametrize("write", [write_yaml, write_timm])
def test_the_provenance_goes_along(write: Writer, tmp_path: Path) -> None:
    assert load_variant(write(VARIANT, folder=tmp_path)) == VARIANT


def test_an_architecture_alone_loads_too(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(PICO.to_dict()))
    assert load_variant(file) == Variant(name="mine", arch=PICO)


def test_a_folder_builds_in_timm(tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    import cmt_search.builder  # noqa: F401 - registers the networks

    folder = write_timm(VARIANT, folder=tmp_path)
    model = timm.create_model(f"local-dir:{folder}")
    assert sum(p.numel() for p in model.parameters()) == cost(PICO).params
    assert model.arch == PICO
    assert timm.create_model(f"local-dir:{folder}", num_classes=3).num_classes == 3


def test_weights_and_normalisation_go_into_the_folder(tmp_path: Path) -> None:
    import timm
    import torch
    from safetensors.torch import save

    from cmt_search.builder import build

    state = build(PICO).state_dict()
    images = {"mean": [0.28], "std": [0.35]}
    folder = write_timm(VARIANT, folder=tmp_path, weights=save(state), normalisation=images)
    model = timm.create_model(f"local-dir:{folder}", pretrained=True)
    assert all(torch.equal(model.state_dict()[key], value) for key, value in state.items())
    assert list(model.pretrained_cfg["mean"]) == [0.28]


@pytest.mark.parametrize("write", [write_yaml, write_timm])
def test_writing_the_same_again_is_no_overwriting(write: Writer, tmp_path: Path) -> None:
    first = write(VARIANT, folder=tmp_path)
    assert write(VARIANT, folder=tmp_path) == first


@pytest.mark.parametrize("write", [write_yaml, write_timm])
def test_something_else_is_overwritten_only_on_demand(write: Writer, tmp_path: Path) -> None:
    other = replace(VARIANT, arch=PRESETS["cmt_nano"])
    write(other, folder=tmp_path)
    with pytest.raises(ExportError, match=r"holds something else; add --force"):
        write(VARIANT, folder=tmp_path)
    write(VARIANT, folder=tmp_path, force=True)
    assert load(write(VARIANT, folder=tmp_path)) == PICO


def edited(path: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    data = yaml.safe_load(path.read_text())
    change(data)
    path.write_text(yaml.safe_dump(data))
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(params=1), r"params=1, but its arch gives 139\d{3}|params=1, but"),
        (lambda d: d.update(key="x"), r"key='x', but its arch gives '[0-9a-f]{12}'"),
        (lambda d: d["arch"].update(neck_width=65), r"key='[0-9a-f]{12}', but its arch gives"),
        (lambda d: d["arch"].update(colour=1), r"arch\.colour is unknown"),
        (lambda d: d["arch"]["stages"][1].update(width=15), r"stages\[1\]\.width=15 .* use 16"),
        (lambda d: d["arch"].pop("stages"), r"arch\.stages is missing"),
        (lambda d: d.pop("arch"), r"arch is missing; export the variant again"),
        (lambda d: d.update(version=2), r"version=2 is not 1"),
        (lambda d: d.update(format="cmt_search/family"), r"is not 'cmt_search/variant'"),
    ],
)
def test_a_changed_file_is_refused_by_the_field(
    change: Callable[[dict[str, Any]], None], message: str, tmp_path: Path
) -> None:
    path = edited(write_yaml(VARIANT, folder=tmp_path), change)
    with pytest.raises(ExportError, match=message) as caught:
        load(path)
    assert str(path) in str(caught.value)


def test_a_timm_folder_whose_model_args_were_changed_is_refused(tmp_path: Path) -> None:
    config = write_timm(VARIANT, folder=tmp_path) / "config.json"
    data = json.loads(config.read_text())
    data["model_args"]["arch"]["neck_width"] = 65
    config.write_text(json.dumps(data))
    with pytest.raises(ExportError, match=r"model_args\.arch is not the network"):
        load(config)


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    path = write_timm(VARIANT, folder=tmp_path) / "config.json"
    path.write_text(path.read_text()[:200])
    with pytest.raises(ExportError, match=r"is broken .* export the variant again"):
        load(path)


def test_loading_runs_no_code(tmp_path: Path) -> None:
    path = tmp_path / "evil.yaml"
    path.write_text("!!python/object/apply:os.mkdir [made]\n")
    with pytest.raises(ExportError, match="is broken"):
        load(path)
    assert not (tmp_path / "made").exists()


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"nothing\.yaml: cannot be read .* timm folder"):
        load(tmp_path / "nothing.yaml")


def test_a_name_that_would_leave_the_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"'\.\./up' is no file name; use letters"):
        write_yaml(replace(VARIANT, name="../up"), folder=tmp_path)


def family_file(tmp_path: Path) -> Path:
    base = PRESETS["cmt_pico"]
    family = Family.of(named_rule("dwr", base=base), budgets=[1.5e6, 3e6])
    names = {m.budget.macs: f"dwr-{m.budget.macs:.0f}" for m in family.members}
    return write_family(
        family, path=tmp_path / "family.yaml", names=names, evidence={"word": "tie"}, missing={}
    )


def test_a_family_comes_back_as_its_members(tmp_path: Path) -> None:
    members = read_family(family_file(tmp_path))
    rule = named_rule("dwr", base=PRESETS["cmt_pico"])
    assert [m.name for m in members] == ["dwr-1500000", "dwr-3000000"]
    assert [m.arch for m in members] == [rule.member(1.5e6).arch, rule.member(3e6).arch]
    assert members[0].provenance["evidence"] == {"word": "tie"}


def test_a_changed_member_is_named(tmp_path: Path) -> None:
    path = edited(family_file(tmp_path), lambda d: d["members"][1].update(macs=7))
    with pytest.raises(ExportError, match=r"dwr-3000000: macs=7, but its arch gives"):
        read_family(path)


def test_a_missing_family_names_the_command_that_writes_it(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"does not exist; write it with `cmt-search family`"):
        read_family(tmp_path / "family.yaml")


def test_a_family_is_no_single_network(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"is a family; export one of its members \(dwr-"):
        load(family_file(tmp_path))
