"""A shape asked for by depth, width and side keeps the base's proportions."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cmt_search.errors import ArchError, BudgetError
from cmt_search.presets import PRESETS
from cmt_search.scaling import resize

CMT_S = PRESETS["cmt_s"]


@pytest.mark.parametrize("name", PRESETS)
def test_nothing_asked_for_is_the_base(name: str) -> None:
    assert resize(PRESETS[name]) == PRESETS[name]


def test_sizes_asked_for_scale_all_stages() -> None:
    arch = resize(CMT_S, depth=50, width=96, resolution=160)
    assert [s.depth for s in arch.stages] == [6, 6, 32, 6]
    assert [s.width for s in arch.stages] == [96, 192, 384, 768]
    assert (arch.stem_width, arch.resolution) == (48, 160)
    assert replace(arch, stages=CMT_S.stages, stem_width=32, resolution=224) == CMT_S


def test_the_stage_ratio_moves_the_added_blocks() -> None:
    depths = {
        ratio: [s.depth for s in resize(CMT_S, depth=34, stage_ratio=ratio).stages]
        for ratio in (0.0, 1.0)
    }
    assert depths == {0.0: [6, 6, 16, 6], 1.0: [3, 3, 25, 3]}


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(list(PRESETS)),
    depth=st.integers(1, 90),
    width=st.integers(1, 200),
    resolution=st.integers(1, 300),
    stage_ratio=st.none() | st.floats(0, 1),
)
def test_any_shape_is_a_network_of_the_depth_width_and_side_asked_for(
    name: str, depth: int, width: int, resolution: int, stage_ratio: float | None
) -> None:
    base = PRESETS[name]
    arch = resize(base, depth=depth, width=width, resolution=resolution, stage_ratio=stage_ratio)
    assert arch.depth == max(depth, len(base.stages))
    assert arch.resolution == resolution
    assert arch.stages[0].width == width  # of one head
    factor = width / base.stages[0].width
    for stage, original in zip(arch.stages, base.stages, strict=True):
        assert abs(stage.width - original.width * factor) <= max(original.heads / 2, 1)
        assert (stage.heads, stage.kv_stride) == (original.heads, original.kv_stride)
        assert stage.mlp_ratio == original.mlp_ratio


def test_an_impossible_shape_is_refused() -> None:
    with pytest.raises(ArchError, match=r"^resolution=-2 .* from 1 to 16,384$"):
        resize(CMT_S, resolution=-2)
    with pytest.raises(BudgetError, match=r"^stage_ratio=2 needs three stages or more"):
        resize(CMT_S, stage_ratio=2)
