"""A network description refuses the impossible, survives serialisation, and has a stable key."""

import json
import pickle
import re
from collections.abc import Callable
from dataclasses import FrozenInstanceError, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cmt_search.arch import POSITIONS, Arch, Stage
from cmt_search.errors import ArchError
from cmt_search.presets import PRESETS
from tests.archs import archs

BASE = PRESETS["cmt_pico"]


def _with_stage(**changes: Any) -> Arch:
    first, *rest = BASE.stages
    return replace(BASE, stages=(replace(first, **changes), *rest))


@pytest.mark.parametrize(
    ("changes", "remedy"),
    [
        ({"heads": 4, "width": 10}, "use 12"),
        ({"heads": 2, "width": 1}, "use 2"),
        ({"depth": 2.0}, "a whole number"),
        ({"heads": True}, "a whole number"),
        ({"depth": 0}, "from 1"),
        ({"kv_stride": 0}, "from 1 to 64"),
        ({"kv_stride": 10**9}, "from 1 to 64"),
        ({"mlp_ratio": "4"}, "a number above 0"),
        ({"mlp_ratio": float("nan")}, "a number above 0"),
        ({"mlp_ratio": 0.1}, "a larger ratio"),
        ({"qk_ratio": True}, "a number above 0"),
        ({"qk_ratio": float("nan")}, "a number above 0"),
        ({"qk_ratio": 0.12}, "a larger ratio"),  # of the 8 channels in a head
        ({"qk_ratio": 8.5}, "at most 8"),
    ],
)
def test_an_impossible_stage_is_refused_with_its_place_and_a_remedy(
    changes: dict[str, Any], remedy: str
) -> None:
    *_, key = changes
    with pytest.raises(ArchError, match=rf"^stages\[0\]\.{key}=.*; .*{remedy}"):
        _with_stage(**changes)


@pytest.mark.parametrize(
    ("changes", "remedy"),
    [
        ({"position": "blocks"}, "stage, block or none"),
        ({"position": None}, "stage, block or none"),
        ({"resolution": "224"}, "a whole number"),
        ({"resolution": 0}, "from 1"),
        ({"num_classes": -1}, "from 0"),
        ({"stages": ()}, "at least 1"),
        ({"stages": ({"depth": 1},)}, "a list"),
    ],
)
def test_an_impossible_network_is_refused_with_its_key_and_a_remedy(
    changes: dict[str, Any], remedy: str
) -> None:
    (key,) = changes
    with pytest.raises(ArchError, match=rf"^{key}=.*; .*{remedy}"):
        replace(BASE, **changes)


def _edited(edit: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    data = BASE.to_dict()
    edit(data)
    return data


@pytest.mark.parametrize(
    ("data", "key", "remedy"),
    [
        (_edited(lambda d: d.update(resolutoin=3)), "arch.resolutoin", "resolution, stem_width"),
        (_edited(lambda d: d["stages"][2].update(with_=3)), "arch.stages[2].with_", "depth, width"),
        (_edited(lambda d: d.pop("stem_width")), "arch.stem_width", "add it"),
        (_edited(lambda d: d["stages"][1].pop("heads")), "arch.stages[1].heads", "add it"),
        (_edited(lambda d: d.update(stages="four")), "arch.stages", "give a list"),
        (_edited(lambda d: d.update(stages=[3])), "arch.stages[0]", "`field: value`"),
        ([1, 2], "arch", "`field: value`"),
        (_edited(lambda d: d["stages"][3].update(width=61)), "stages[3].width", "use 64"),
    ],
)
def test_a_description_that_cannot_be_read_names_the_key(data: Any, key: str, remedy: str) -> None:
    with pytest.raises(ArchError, match=rf"^{re.escape(key)}.*; .*{remedy}"):
        Arch.from_dict(data)


@given(arch=archs)
def test_a_network_survives_the_way_through_json(arch: Arch) -> None:
    again = Arch.from_dict(json.loads(json.dumps(arch.to_dict())))
    assert again == arch
    assert again.key == arch.key


def test_fields_with_defaults_may_be_left_out_of_a_description() -> None:
    short = {
        "resolution": 32,
        "stem_width": 8,
        "stages": [{"depth": 1, "width": 8, "heads": 2}],
    }
    assert Arch.from_dict(short) == Arch(
        resolution=32, stem_width=8, stages=(Stage(depth=1, width=8, heads=2),)
    )


def test_a_description_from_before_the_options_is_read_as_a_cmt_without_them() -> None:
    old = BASE.to_dict()
    del old["position"]
    for stage in old["stages"]:
        del stage["qk_ratio"]
    read = Arch.from_dict(old)
    assert (read, read.key) == (BASE, "45b35981bba4")
    assert read.position == "stage"
    assert all(stage.qk_width == stage.width for stage in read.stages)


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("cmt_ti", "3e1ba98378a0"),
        ("cmt_xs", "434bdddbcd17"),
        ("cmt_s", "ebfeba93ed24"),
        ("cmt_b", "72f019470541"),
        ("cmt_micro", "7f5b6c3b6429"),
        ("cmt_nano", "f20485e8127f"),
        ("cmt_pico", "45b35981bba4"),
    ],
)
def test_keys_of_presets_never_change_since_studies_and_exports_hold_them(
    name: str, key: str
) -> None:
    assert PRESETS[name].key == key


def test_keys_are_equal_where_the_realised_networks_are() -> None:
    assert _with_stage(mlp_ratio=4).key == _with_stage(mlp_ratio=4.0).key
    assert _with_stage(mlp_ratio=4.0).key == _with_stage(mlp_ratio=4.05).key  # both 32 channels
    assert _with_stage(mlp_ratio=4.0).key != _with_stage(mlp_ratio=4.125).key  # 33 channels
    assert _with_stage(qk_ratio=0.5).key == _with_stage(qk_ratio=0.6).key  # 4 of 8 channels
    assert _with_stage(qk_ratio=1.0).key == _with_stage(qk_ratio=1.1).key == BASE.key
    assert _with_stage(qk_ratio=1.125).key != BASE.key


@given(arch=archs, data=st.data())
def test_keys_differ_when_any_realised_size_does(arch: Arch, data: st.DataObject) -> None:
    name = data.draw(
        st.sampled_from(
            ["resolution", "stem_width", "stem_stride", "neck_width", "in_chans", "num_classes"]
        )
    )
    assert replace(arch, **{name: getattr(arch, name) + 1}).key != arch.key
    assert len({replace(arch, position=position).key for position in POSITIONS}) == 3
    i = data.draw(st.integers(0, len(arch.stages) - 1))
    stage = arch.stages[i]
    for changed in (
        replace(stage, depth=stage.depth + 1),
        replace(stage, width=stage.width + stage.heads),
        replace(stage, width=2 * stage.width, heads=2 * stage.heads),
        replace(stage, kv_stride=stage.kv_stride + 1),
        replace(stage, mlp_ratio=stage.mlp_ratio + 1),
        replace(stage, qk_ratio=stage.qk_ratio + 1.01 / stage.head_dim),
    ):
        stages = (*arch.stages[:i], changed, *arch.stages[i + 1 :])
        assert replace(arch, stages=stages).key != arch.key


def test_heads_alone_change_the_key() -> None:
    assert _with_stage(heads=2).key != BASE.key


@pytest.mark.parametrize(
    ("width", "heads", "ratio", "qk"),
    [(64, 4, 1, 64), (64, 4, 0.5, 32), (60, 4, 0.5, 28), (64, 4, 0.1, 4), (64, 4, 1.5, 96)],
)
def test_queries_and_keys_have_whole_channels_in_every_head(
    width: int, heads: int, ratio: float, qk: int
) -> None:
    stage = Stage(depth=1, width=width, heads=heads, qk_ratio=ratio)
    assert (stage.qk_width, stage.head_dim) == (qk, width // heads)


def test_networks_are_frozen_hashable_and_picklable() -> None:
    with pytest.raises(FrozenInstanceError):
        BASE.resolution = 3  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        BASE.stages[0].width = 3  # type: ignore[misc]
    assert {BASE, Arch.from_dict(BASE.to_dict())} == {BASE}
    assert pickle.loads(pickle.dumps(BASE)) == BASE


def test_derived_sizes_are_those_of_the_facts_page() -> None:
    ti, xs = PRESETS["cmt_ti"], PRESETS["cmt_xs"]
    assert ti.depth == 16
    assert [s.hidden for s in ti.stages] == [165, 331, 662, 1324]
    assert xs.stages[0].hidden == 196  # int(52 * 3.77), not the paper's printed 3.8
