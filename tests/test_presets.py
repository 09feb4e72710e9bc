"""The table of presets holds the published facts, and bases that are fit for proxies."""

import pytest

from cmt_search.arch import Arch
from cmt_search.cost import cost, sizes_of
from cmt_search.presets import PRESETS

PROXIES = {"cmt_micro": (12e6, 32), "cmt_nano": (4e6, 32), "cmt_pico": (0.5e6, 28)}


@pytest.mark.parametrize(
    ("name", "resolution", "stem", "widths", "depths", "ratio"),
    [
        ("cmt_ti", 160, 16, [46, 92, 184, 368], [2, 2, 10, 2], 3.6),
        ("cmt_xs", 192, 16, [52, 104, 208, 416], [3, 3, 12, 3], 3.77),
        ("cmt_s", 224, 32, [64, 128, 256, 512], [3, 3, 16, 3], 4),
        ("cmt_b", 256, 38, [76, 152, 304, 608], [4, 4, 20, 4], 4),
    ],
)
def test_published_presets_have_the_sizes_of_the_official_code(
    name: str, resolution: int, stem: int, widths: list[int], depths: list[int], ratio: float
) -> None:
    arch = PRESETS[name]
    assert (arch.resolution, arch.stem_width, arch.stem_stride) == (resolution, stem, 2)
    assert (arch.neck_width, arch.in_chans, arch.num_classes) == (1280, 3, 1000)
    assert [s.width for s in arch.stages] == widths
    assert [s.depth for s in arch.stages] == depths
    assert [s.mlp_ratio for s in arch.stages] == [ratio] * 4
    assert [s.heads for s in arch.stages] == [1, 2, 4, 8]
    assert [s.kv_stride for s in arch.stages] == [8, 4, 2, 1]


@pytest.mark.parametrize(
    ("name", "widths", "depths"),
    [
        ("cmt_micro", [16, 32, 64, 128], [2, 2, 6, 2]),
        ("cmt_nano", [12, 24, 48, 96], [1, 1, 3, 1]),
    ],
)
def test_proxy_bases_have_the_sizes_asked_for(
    name: str, widths: list[int], depths: list[int]
) -> None:
    arch = PRESETS[name]
    assert [s.width for s in arch.stages] == widths
    assert [s.depth for s in arch.stages] == depths
    assert arch.resolution == 32


@pytest.fixture(params=PROXIES)
def proxy(request: pytest.FixtureRequest) -> tuple[str, Arch]:
    return request.param, PRESETS[request.param]


def test_proxy_bases_keep_two_by_two_keys_in_the_first_three_stages(
    proxy: tuple[str, Arch],
) -> None:
    _, arch = proxy
    assert arch.stem_stride == 1
    assert all(stage.kv_tokens >= 4 for stage in sizes_of(arch).stages[:3])


def test_stem_and_head_of_proxy_bases_are_not_the_bulk(proxy: tuple[str, Arch]) -> None:
    _, arch = proxy
    whole = cost(arch)
    shares = {row.name: row.macs / whole.macs for row in whole.rows}
    assert shares["stem"] < 0.25
    assert shares["head"] < 0.25
    assert shares["stem"] + shares["head"] < 0.25


def test_proxy_bases_cost_about_what_their_names_promise(proxy: tuple[str, Arch]) -> None:
    name, arch = proxy
    assert cost(arch).macs == pytest.approx(PROXIES[name][0], rel=0.15)


def test_pico_leaves_half_of_the_native_resolution_to_grow_into() -> None:
    assert 2 * PRESETS["cmt_pico"].resolution <= 28


def test_the_table_of_presets_cannot_be_changed() -> None:
    with pytest.raises(TypeError, match="does not support item assignment"):
        PRESETS["mine"] = PRESETS["cmt_s"]  # type: ignore[index]
    assert list(PRESETS)[:4] == ["cmt_ti", "cmt_xs", "cmt_s", "cmt_b"]
