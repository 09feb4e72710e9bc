"""The closed form obeys what can be said of it by hand."""

import json
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from cmt_search.arch import POSITIONS, Arch
from cmt_search.cost import cost, sizes_of
from cmt_search.cost.analytic import StageSizes, block_cost
from cmt_search.presets import PRESETS
from tests.archs import archs

sides = st.integers(1, 300)


@given(
    d=st.integers(1, 600),
    h=st.integers(1, 2400),
    qk=st.integers(1, 900),
    k=st.integers(1, 8),
    tokens=st.integers(1, 3000),
    keys=st.integers(1, 400),
)
def test_a_block_costs_what_the_formula_by_hand_says(
    d: int, h: int, qk: int, k: int, tokens: int, keys: int
) -> None:
    block = block_cost(
        StageSizes(
            depth=3,
            width=d,
            hidden=h,
            qk_width=qk,
            tokens=tokens,
            kv_tokens=keys,
            heads=1,
            kv_stride=k,
            position="stage",
        )
    )
    strided = k > 1
    attention = 2 * (d * qk + qk) + 2 * (d**2 + d) + strided * (k**2 * d + 3 * d)
    assert block.params == 10 * d + 4 * d + attention + 2 * d * h + 15 * h + 3 * d
    on_tokens = 9 * d + d * qk + d**2 + 2 * d * h + 9 * h
    on_keys = d * qk + d**2 + strided * k**2 * d + tokens * (qk + d)
    assert block.macs == on_tokens * tokens + on_keys * keys
    local, attended, fed = d * tokens, (qk + d) * (tokens + keys), (2 * h + d) * tokens
    assert block.activations == local + attended + strided * d * keys + fed


@settings(max_examples=40)
@given(arch=archs, height=sides, width=sides)
def test_rows_sum_to_the_whole(arch: Arch, height: int, width: int) -> None:
    whole = cost(arch, input_size=(height, width))
    for name in ("params", "macs", "activations"):
        assert sum(getattr(row, name) for row in whole.rows) == getattr(whole, name)
    stages = [f"stage{i + 1}" for i in range(len(arch.stages))]
    assert [row.name for row in whole.rows] == ["stem", *stages, "head"]


@settings(max_examples=40)
@given(arch=archs, height=sides, width=sides)
def test_turning_the_image_on_its_side_costs_the_same(arch: Arch, height: int, width: int) -> None:
    assert cost(arch, input_size=(height, width)) == cost(arch, input_size=(width, height))


@settings(max_examples=40)
@given(arch=archs, height=sides, width=sides)
def test_a_larger_image_never_costs_less(arch: Arch, height: int, width: int) -> None:
    small, large = (cost(arch, input_size=(h, width)) for h in (height, height + 1))
    assert small.macs <= large.macs
    assert small.activations <= large.activations


def test_the_image_is_by_default_a_square_of_the_network_s_resolution() -> None:
    arch = PRESETS["cmt_s"]
    assert cost(arch) == cost(arch, input_size=(224, 224))
    assert cost(arch) != cost(arch, input_size=(224, 192))


def test_odd_maps_are_padded_up_at_every_stride() -> None:
    sizes = sizes_of(replace(PRESETS["cmt_s"], resolution=33), input_size=(33, 50))
    assert sizes.stem_tokens == 17 * 25
    assert [s.tokens for s in sizes.stages] == [9 * 13, 5 * 7, 3 * 4, 2 * 2]
    assert [s.kv_tokens for s in sizes.stages] == [2 * 2, 2 * 2, 2 * 2, 2 * 2]


def test_a_pixel_that_padding_adds_anyway_is_free() -> None:
    arch = PRESETS["cmt_ti"]
    costs = [cost(replace(arch, resolution=side)) for side in (160, 161, 162)]
    assert costs[0].macs < costs[1].macs
    assert costs[1] == costs[2]


@settings(max_examples=40)
@given(arch=archs)
def test_a_network_without_classifier_saves_exactly_the_classifier(arch: Arch) -> None:
    bare, full = (cost(replace(arch, num_classes=n)) for n in (0, 7))
    assert full.params - bare.params == 7 * (arch.neck_width + 1)
    assert full.macs - bare.macs == 7 * arch.neck_width
    assert full.activations - bare.activations == 7


def test_a_cost_is_plain_values_for_json() -> None:
    data = json.loads(json.dumps(cost(PRESETS["cmt_xs"]).to_dict()))
    assert (data["params"], data["macs"]) == (15247208, 1546873472)
    assert [row["name"] for row in data["rows"]][:2] == ["stem", "stage1"]


@settings(max_examples=40)
@given(arch=archs)
def test_position_tables_cost_parameters_alone_and_one_table_for_each_that_there_is(
    arch: Arch,
) -> None:
    shared, own, none = (cost(replace(arch, position=name)) for name in POSITIONS)
    tables = [s.heads * s.tokens * s.kv_tokens for s in sizes_of(arch).stages]
    assert shared.params - none.params == sum(tables)
    assert own.params - none.params == sum(
        stage.depth * table for stage, table in zip(arch.stages, tables, strict=True)
    )
    assert len({(c.macs, c.activations) for c in (shared, own, none)}) == 1


def test_half_the_query_channels_save_what_they_cost_by_hand() -> None:
    arch = PRESETS["cmt_s"]
    halved = replace(arch, stages=tuple(replace(s, qk_ratio=0.5) for s in arch.stages))
    saved = 0
    for stage, size in zip(arch.stages, sizes_of(arch).stages, strict=True):
        projections = (size.tokens + size.kv_tokens) * stage.width * stage.width // 2
        product = size.tokens * size.kv_tokens * stage.width // 2
        saved += stage.depth * (projections + product)
    assert cost(arch).macs - cost(halved).macs == saved
