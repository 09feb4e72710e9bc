"""Costs equal those measured on the official code."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cmt_search.cost import cost, sizes_of
from cmt_search.presets import PRESETS

FACTS = json.loads((Path(__file__).parents[1] / "golden" / "cmt_costs.json").read_text())


@pytest.mark.parametrize(("name", "facts"), FACTS["variants"].items())
def test_presets_cost_what_was_measured_to_the_digit(name: str, facts: dict[str, Any]) -> None:
    counted = cost(PRESETS[name])
    assert (counted.params, counted.macs) == (facts["params"], facts["macs"])


@pytest.mark.parametrize(("name", "facts"), FACTS["variants"].items())
def test_position_tables_and_attention_products_match_the_facts(
    name: str, facts: dict[str, Any]
) -> None:
    stages = sizes_of(PRESETS[name]).stages
    assert sum(s.heads * s.tokens * s.kv_tokens for s in stages) == facts["position_params"]
    products = sum(2 * s.depth * s.tokens * s.kv_tokens * s.width for s in stages)
    assert products / 1e6 == pytest.approx(facts["attention_mmacs"], abs=0.005)


@pytest.mark.parametrize("change", FACTS["cmt_s_with_one_change"], ids=lambda c: str(c["name"]))
def test_cmt_s_with_one_change_costs_what_was_measured(change: dict[str, Any]) -> None:
    base, width = PRESETS["cmt_s"], change.get("width", 1)
    arch = replace(
        base,
        resolution=change.get("resolution", base.resolution),
        stem_width=int(base.stem_width * width),
        stages=tuple(
            replace(s, depth=s.depth * change.get("depth", 1), width=int(s.width * width))
            for s in base.stages
        ),
    )
    assert cost(arch).macs / 1e9 == pytest.approx(change["gmacs"], abs=5e-4)
