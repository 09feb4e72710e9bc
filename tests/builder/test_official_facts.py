"""The presets against what was measured on the official implementation."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from cmt_search.builder import CMT
from cmt_search.builder.checkpoint import official_key
from cmt_search.presets import PRESETS

FACTS = json.loads((Path(__file__).parents[1] / "golden" / "cmt_state_dicts.json").read_text())
NAMES = ("cmt_ti", "cmt_xs", "cmt_s", "cmt_b")


@pytest.fixture(scope="module", params=NAMES)
def built(request: pytest.FixtureRequest) -> tuple[CMT, dict[str, Any]]:
    with torch.device("meta"):
        return CMT(PRESETS[request.param]), FACTS[request.param]


def expanded(facts: dict[str, Any]) -> dict[str, list[int]]:
    """The facts' keys with `*` written out over the blocks of its stage."""
    keys: dict[str, list[int]] = {}
    for key, shape in facts["keys"].items():
        blocks = facts["depths"][key[len("blocks_")]] if "*" in key else 1
        keys |= {key.replace("*", str(block)): shape for block in range(blocks)}
    return keys


def test_parameters_are_the_official_count(built: tuple[CMT, dict[str, Any]]) -> None:
    model, facts = built
    assert sum(p.numel() for p in model.parameters()) == facts["params"]


def test_macs_are_the_official_count(built: tuple[CMT, dict[str, Any]]) -> None:
    model, facts = built
    with FlopCounterMode(display=False) as counter:
        model(torch.empty(1, 3, *model.input_size, device="meta"))
    assert counter.get_total_flops() == 2 * facts["macs"]


def test_state_dict_maps_onto_every_official_key_and_shape(
    built: tuple[CMT, dict[str, Any]],
) -> None:
    model, facts = built
    shapes = {official_key(key): list(t.shape) for key, t in model.state_dict().items()}
    assert shapes == expanded(facts)
    assert len(shapes) == len(model.state_dict())
