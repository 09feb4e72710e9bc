"""The official checkpoints: their keys, and strict loading with errors that name what is wrong."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from cmt_search.arch import Arch
from cmt_search.builder import CMT, load_checkpoint
from cmt_search.builder.checkpoint import official_key
from cmt_search.errors import ArchError
from cmt_search.presets import PRESETS

FACTS = json.loads((Path(__file__).parents[1] / "golden" / "cmt_state_dicts.json").read_text())
PICO = PRESETS["cmt_pico"]


def official(arch: Arch) -> dict[str, Tensor]:
    torch.manual_seed(3)
    return {official_key(key): value for key, value in CMT(arch).state_dict().items()}


def released(name: str, *, device: str) -> dict[str, Tensor]:
    """A state dict with the very keys and shapes of the official release, numbered in order."""
    facts = FACTS[name]
    shapes = {
        key.replace("*", str(block)): shape
        for key, shape in facts["keys"].items()
        for block in range(facts["depths"][key[len("blocks_")]] if "*" in key else 1)
    }
    return {
        key: torch.full(shape, i, dtype=torch.float if shape else torch.long, device=device)
        for i, (key, shape) in enumerate(shapes.items())
    }


@pytest.mark.parametrize("name", ["cmt_ti", "cmt_xs", "cmt_s", "cmt_b"])
def test_the_keys_and_shapes_of_every_release_load_strictly(name: str) -> None:
    checkpoint = released(name, device="meta")
    with torch.device("meta"):
        model = CMT(PRESETS[name])
    assert load_checkpoint(model, {"model": checkpoint}) == ()
    del checkpoint["blocks_d.2.norm2.bias" if name != "cmt_ti" else "blocks_d.1.norm2.bias"]
    with pytest.raises(ArchError, match=r"\(missing: blocks_d\.\d\.norm2\.bias\); build"):
        load_checkpoint(model, {"model": checkpoint})


def test_a_release_of_cmt_ti_fills_every_tensor_from_its_file(tmp_path: Path) -> None:
    checkpoint = released("cmt_ti", device="cpu")
    torch.save({"model": checkpoint, "epoch": 799}, tmp_path / "cmt_tiny.pth")
    model = CMT(PRESETS["cmt_ti"])
    assert load_checkpoint(model, tmp_path / "cmt_tiny.pth") == ()
    for key, value in model.state_dict().items():
        assert torch.equal(value, checkpoint[official_key(key)]), key


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("stem.2.norm.running_var", "stem_norm3.running_var"),
        ("stages.1.position", "relative_pos_b"),
        ("stages.3.patch_embed.proj.bias", "patch_embed_d.proj.bias"),
        ("stages.2.blocks.11.lpu.conv.weight", "blocks_c.11.proj.weight"),
        ("stages.0.blocks.1.attn.reduce.conv.weight", "blocks_a.1.attn.sr.0.weight"),
        ("stages.0.blocks.1.attn.proj.weight", "blocks_a.1.attn.proj.weight"),
        ("stages.0.blocks.1.irffn.expand.norm.bias", "blocks_a.1.mlp.conv1.2.bias"),
        ("stages.0.blocks.1.irffn.local_norm.bias", "blocks_a.1.mlp.proj_bn.bias"),
        ("stages.0.blocks.1.irffn.project_norm.bias", "blocks_a.1.mlp.conv2.1.bias"),
        ("neck.norm.weight", "_bn.weight"),
        ("head.weight", "head.weight"),
    ],
)
def test_keys_have_their_official_names(ours: str, theirs: str) -> None:
    assert official_key(ours) == theirs


def test_missing_and_unexpected_keys_are_named() -> None:
    checkpoint = official(PICO)
    del checkpoint["blocks_b.0.attn.q.weight"]
    checkpoint["extra.weight"] = torch.zeros(1)
    keys = r"\(missing: blocks_b\.0\.attn\.q\.weight; unexpected: extra\.weight\); build"
    with pytest.raises(ArchError, match=keys):
        load_checkpoint(CMT(PICO), checkpoint)


def test_a_long_list_of_keys_is_cut() -> None:
    checkpoint = {"stem_conv1.weight": torch.zeros(1)}
    with pytest.raises(ArchError, match=r"missing: stem_conv1\.bias, .* and \d+ more\); build"):
        load_checkpoint(CMT(PICO), checkpoint)


def test_a_wrong_shape_is_named_with_both_shapes_and_changes_nothing() -> None:
    model = CMT(replace(PICO, neck_width=32))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    shapes = r"_fc\.weight has shape \(64, 64, 1, 1\), the model needs \(32, 64, 1, 1\); build"
    with pytest.raises(ArchError, match=shapes):
        load_checkpoint(model, official(PICO))
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_official_tables_are_square_whatever_the_model_and_its_config_say() -> None:
    arch = replace(PICO, resolution=32)
    source = CMT(arch)
    checkpoint = {official_key(key): value for key, value in source.state_dict().items()}
    wide = (16, 64)  # as many queries and keys in every stage as 32x32 gives
    model = CMT(arch, input_size=wide)
    load_checkpoint(model, checkpoint)
    source.set_input_size(wide)
    for key, value in model.state_dict().items():
        assert torch.equal(value, source.state_dict()[key]), key
