"""Loading official state dicts: strictly, and with errors that name what is wrong."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from cmt_search.arch import Arch
from cmt_search.builder import build, load_official_state_dict
from cmt_search.builder.official import official_key
from cmt_search.errors import ArchError
from cmt_search.presets import PRESETS

PICO = PRESETS["cmt_pico"]


def official(arch: Arch) -> dict[str, Tensor]:
    torch.manual_seed(3)
    return {official_key(key): value for key, value in build(arch).state_dict().items()}


def test_a_checkpoint_fills_every_tensor() -> None:
    checkpoint = official(PICO)
    model = build(PICO)
    load_official_state_dict(model, checkpoint)
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
    with pytest.raises(ArchError) as error:
        load_official_state_dict(build(PICO), checkpoint)
    assert str(error.value) == (
        "official state dict: the model misses blocks_b.0.attn.q.weight and does not expect "
        "extra.weight; build the Arch that the checkpoint is of (depths and kv_strides decide "
        "the keys)"
    )


def test_a_long_list_of_keys_is_cut() -> None:
    with pytest.raises(ArchError, match=r"misses stem_conv1\.weight, .* and \d+ more; build"):
        load_official_state_dict(build(PICO), {})


def test_a_wrong_shape_is_named_with_both_shapes_and_changes_nothing() -> None:
    model = build(replace(PICO, num_classes=7))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(ArchError) as error:
        load_official_state_dict(model, official(PICO))
    assert str(error.value) == (
        "official state dict: head.weight has shape (10, 64), the model needs (7, 64); build the "
        "Arch that the checkpoint is of, load, and only then call set_input_size or "
        "reset_classifier"
    )
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
