"""Folders for timm and the Hugging Face Hub."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch
import yaml
from safetensors.torch import save_file

import cmt_search
from cmt_search.cost import cost
from cmt_search.errors import ExportError
from cmt_search.export import Source, Variant, export, timm_folder
from cmt_search.export.model_card import format_card
from tests.builder.tiny import TINY
from tests.export.conftest import EDIT, edited

SECTIONS = [
    "Budget and cost",
    "Rule",
    "Evidence",
    "How to use",
    "Intended use",
    "Limits",
    "Provenance",
]


def test_a_folder_builds_in_timm(fresh: Source, tmp_path: Path) -> None:
    folder = export(fresh, format="timm", folder=tmp_path)
    model = timm.create_model(f"local-dir:{folder}")
    assert sum(p.numel() for p in model.parameters()) == cost(TINY).params
    assert model.arch == TINY
    assert json.loads((folder / "config.json").read_text())["num_features"] == model.num_features
    assert timm.create_model(f"local-dir:{folder}", num_classes=3).num_classes == 3


def test_weights_images_and_classes_go_into_the_folder(learned: Source, tmp_path: Path) -> None:
    folder = export(learned, format="timm", folder=tmp_path)
    model = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    assert torch.equal(model(learned.images), learned.logits)
    config = timm.data.resolve_model_data_config(model)
    assert (config["mean"], config["std"], config["crop_pct"]) == ([0.28], [0.35], 1.0)
    assert list(model.pretrained_cfg["label_names"]) == list("abcde")


def test_the_card_says_what_the_network_is_and_rests_on(learned: Source, tmp_path: Path) -> None:
    rule = {"rule": "dwr", "shares": {"depth": 0.1, "width": 0.8, "resolution": 0.1}}
    evidence = {"run": "demo", "says": ["The best guess is dwr.", "It may be another."]}
    told = {**rule, "budget": 100_000, "realised": [0.0, 0.9, 0.1], "evidence": evidence}
    source = Source(
        variant=Variant(name="dwr-100k", arch=TINY, provenance=told), weights=learned.weights
    )
    text = (export(source, format="timm", folder=tmp_path) / "README.md").read_text()
    _, front, body = text.split("---\n", 2)
    head = yaml.safe_load(front)
    assert head["library_name"] == "timm"
    assert "license" not in head
    licensed = format_card(replace(source, license="mit"))
    assert yaml.safe_load(licensed.split("---\n", 2)[1])["license"] == "mit"
    assert "python -m cmt_search.timm train.py" in body
    assert "image-classification" in head["tags"]
    assert [line[3:] for line in body.splitlines() if line.startswith("## ")] == SECTIONS
    for said in (
        "**Weights:** Trained for this test.",
        "Solved for a budget of 100,000 MACs",
        f"{cost(TINY).macs:,}",
        f"{cost(TINY).params:,}",
        "depth takes 0.10, width 0.80 and resolution 0.10",
        "the shares are 0.00, 0.90, 0.10",
        "- The best guess is dwr.\n- It may be another.",
        "top1 50.00% on 10 images",
        "Epochs of training: 2, on none",
        "run: demo",
        f"key: {TINY.key}",
    ):
        assert said in body, said


def test_the_card_of_a_network_without_weights_says_so(fresh: Source, tmp_path: Path) -> None:
    folder = export(fresh, format="timm", folder=tmp_path)
    text = (folder / "README.md").read_text()
    assert "**Weights:** none; train the network from scratch." in text
    assert "This folder holds no weights" in text
    assert "pretrained=True" not in text
    assert "Measured in the search, on its cheap training: top1 50.00%." in text
    assert not (folder / "model.safetensors").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(model_args=None), r"model_args\.arch is missing"),
        (lambda d: d["model_args"]["arch"].update(neck_width=0), r"neck_width=0"),
        (lambda d: d["cmt_search"].update(more=1), "more is unknown"),
        (lambda d: d["cmt_search"]["provenance"].update(rule=9), r"provenance\.rule=9"),
        (lambda d: d.update(cmt_search=None), "cmt_search is missing"),
        (lambda d: d.pop("cmt_search"), "cmt_search is missing"),
    ],
)
def test_an_impossible_config_is_refused_by_the_field(
    change: EDIT, message: str, learned: Source, tmp_path: Path
) -> None:
    timm_folder.write(learned, tmp_path)  # and no more: an export builds it, too
    config = tmp_path / learned.variant.name / "config.json"
    edited(config, change)
    with pytest.raises(ExportError, match=message) as caught:
        cmt_search.load(config)
    assert str(config) in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.update(num_classes=3),
        lambda d: d["model_args"]["arch"]["stages"][0].update(depth=2),
    ],
)
def test_an_edited_config_loads_what_timm_builds(
    change: EDIT, fresh: Source, tmp_path: Path
) -> None:
    folder = export(fresh, format="timm", folder=tmp_path)
    edited(folder / "config.json", change)
    with pytest.warns(UserWarning, match="recomputed: key"):
        arch = cmt_search.load(folder)
    assert arch != TINY
    assert timm.create_model(f"local-dir:{folder}").arch == arch


def test_changed_weights_are_refused_by_name(learned: Source, tmp_path: Path) -> None:
    folder = export(learned, format="timm", folder=tmp_path)
    weights = folder / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-100])
    with pytest.raises(ExportError, match=r"config\.json: weights\.sha256=.* cut short"):
        cmt_search.load_weights(folder)


def test_weights_of_another_origin_are_refused_by_the_tensor(fresh: Source, tmp_path: Path) -> None:
    folder = export(fresh, format="timm", folder=tmp_path)  # it notes no weights of its own
    weights, state = folder / "model.safetensors", fresh.model.state_dict()
    save_file(state, weights)
    assert list(cmt_search.load_weights(folder)) == list(state)
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ExportError, match=r"model\.safetensors: cannot be read; .*fetch it again"):
        cmt_search.load_weights(folder)
    save_file({**state, "head.bias": torch.zeros(6)}, weights)
    with pytest.raises(ExportError, match=r"head\.bias has shape \(6,\), the network \(5,\)"):
        cmt_search.load_weights(weights)
    save_file({k: v for k, v in state.items() if k != "neck.conv.weight"}, weights)
    with pytest.raises(ExportError, match=r"neck\.conv\.weight is missing"):
        cmt_search.load_weights(folder)
    save_file({**state, "more": torch.zeros(1)}, weights)
    with pytest.raises(ExportError, match=r"more is not of the network"):
        cmt_search.load_weights(folder)


def test_a_folder_that_timm_made_of_another_network_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"architecture": "resnet18", "num_classes": 10}')
    with pytest.raises(ExportError, match="cmt_search is missing"):
        cmt_search.load(tmp_path)


def test_the_card_says_of_budget_rule_and_proxy_only_what_is_known(tmp_path: Path) -> None:
    def card(**provenance: object) -> str:
        source = Source(variant=Variant(name="x", arch=TINY, provenance=provenance))
        return format_card(source)

    preset = card(preset="cmt_ti")
    trial = card(run="demo", trial=3, rule="dwr", proxy_top1=[0.5])
    member = card(rule="dwr", budget=100_000, evidence={"says": ["A tie."]})
    assert [("Solved for" in text) for text in (preset, trial, member)] == [False, False, True]
    assert "of the size that `cmt_search` knows as `cmt_ti`" in preset
    assert "proxy" not in preset
    for text in (preset, trial):
        assert "A start for training from scratch at the cost above." in text
        assert "compute budget" not in text
    assert "from scratch under the compute budget above" in member
    for text in (trial, member):
        assert "whose size `cmt_search` chose" in text
        assert "The evidence is of a proxy" in text
