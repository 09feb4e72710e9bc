"""Costs of many networks at once equal the scalar form to the digit, or are refused."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cmt_search.arch import Arch, Stage
from cmt_search.cost import analytic, cost, costs, sizes_like, sizes_of
from cmt_search.cost.analytic import CostTerms, network_rows, total
from cmt_search.errors import ArchError
from cmt_search.presets import PRESETS
from tests.archs import archs

CMT_S = PRESETS["cmt_s"]
OF_NETWORK = ("resolution", "stem_width", "neck_width")


@st.composite
def grids(draw: st.DrawFn) -> tuple[Arch, dict[str, Any]]:
    """A base of any skeleton, and random columns of n networks, some of them left out."""
    base, n = draw(archs), draw(st.integers(1, 6))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    shape = (n, len(base.stages))
    least = max(int(1 / stage.qk_ratio) + 1 for stage in base.stages)
    heads = rng.integers(1, 7, shape)
    columns = {
        "width": heads * rng.integers(least, least + 90, shape),
        "heads": heads,
        "depth": rng.integers(1, 40, shape),
        "hidden": rng.integers(1, 3000, shape),
        "qk_width": rng.integers(1, 500, shape),
        "resolution": rng.integers(1, 400, n),
        "stem_width": rng.integers(1, 99, n),
        "neck_width": rng.integers(1, 1500, n),
    }
    left_out = draw(st.sets(st.sampled_from(["depth", "hidden", "qk_width", *OF_NETWORK])))
    return base, {name: column for name, column in columns.items() if name not in left_out}


def alone(base: Arch, columns: dict[str, Any], *, i: int) -> tuple[CostTerms[int], ...]:
    """The rows of one network by the scalar form, made as an Arch."""
    stages = tuple(
        replace(
            stage,
            **{n: int(columns[n][i, k]) for n in ("depth", "width", "heads") if n in columns},
        )
        for k, stage in enumerate(base.stages)
    )
    ends = {name: int(columns[name][i]) for name in OF_NETWORK if name in columns}
    sizes = sizes_of(replace(base, stages=stages, **ends))
    channels = [
        {name: int(columns[name][i, k]) for name in ("hidden", "qk_width") if name in columns}
        for k in range(len(stages))
    ]
    changed = (replace(stage, **own) for stage, own in zip(sizes.stages, channels, strict=True))
    return network_rows(replace(sizes, stages=tuple(changed)))


@settings(max_examples=50)
@given(grid=grids())
def test_every_element_costs_what_its_network_costs_alone(
    grid: tuple[Arch, dict[str, Any]],
) -> None:
    base, columns = grid
    found, rows = costs(base, **columns), network_rows(sizes_like(base, **columns))
    n = len(columns["width"])
    own = [alone(base, columns, i=i) for i in range(n)]
    for name in ("params", "macs", "activations"):
        whole = getattr(found, name)
        assert whole.dtype == np.int64
        assert whole.tolist() == [getattr(total(network), name) for network in own]
        together = [np.broadcast_to(getattr(row, name), n).tolist() for row in rows]
        assert together == [[getattr(row, name) for row in part] for part in zip(*own, strict=True)]


def test_more_networks_than_are_counted_at_once_keep_their_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sides = np.arange(1, 400)
    whole = costs(CMT_S, resolution=sides)
    monkeypatch.setattr(analytic, "_CHUNK", 7)
    for some in (whole, costs(CMT_S, resolution=sides)):
        assert some.macs.tolist() == [cost(replace(CMT_S, resolution=int(r))).macs for r in sides]
        assert some.params.shape == some.activations.shape == sides.shape


def test_one_row_stands_for_all_networks_and_no_column_for_the_base() -> None:
    ti = PRESETS["cmt_ti"]
    found = costs(
        CMT_S,
        resolution=[160, 192],
        stem_width=16,
        depth=[2, 2, 10, 2],
        width=[[46, 92, 184, 368]],
        hidden=[s.hidden for s in ti.stages],
    )
    assert found.macs[0] == cost(ti).macs
    assert found.macs[1] == cost(replace(ti, resolution=192)).macs
    assert costs(CMT_S).params.tolist() == [cost(CMT_S).params]


def test_counts_are_exact_up_to_64_bits_and_refused_beyond() -> None:
    stages = (Stage(depth=1, width=1, heads=1),)
    base = Arch(resolution=1, stem_width=1, stages=stages, neck_width=1, num_classes=0)

    def params(width: int) -> int:
        sizes = sizes_of(base)
        stage = replace(sizes.stages[0], width=width, hidden=4 * width, qk_width=width)
        return total(network_rows(replace(sizes, stages=(stage,)))).params

    fits, beyond = 876_000_000, 1_000_000_000  # a block has about 12 width^2 parameters
    assert 2**62 < costs(base, width=[fits]).params[0] == params(fits) < 2**63
    assert params(beyond) > 2**63
    with pytest.raises(ArchError, match=r"1\.2e\+19 may not fit into 64 bits .* one by one"):
        costs(base, width=[[1], [beyond]])


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"widht": [64]}, "unknown size widht; use resolution, stem_width, neck_width, depth"),
        ({"depth": [1.0, 1, 1, 1]}, "depth: dtype float64 is not integer; round, then cast"),
        ({"depth": [[1, 1, 0, 1]]}, "depth: 0 to 1 is outside 1 to 2147483647; give sizes"),
        ({"resolution": [32, 2**31]}, "resolution: 32 to 2147483648 is outside 1 to 2147483647"),
        ({"resolution": np.array([], dtype=int)}, "resolution: nothing is outside 1 to"),
        ({"depth": [1, 2, 3]}, r"depth: has the shape \(3,\); give \(n, 4\) or \(4,\)"),
        ({"resolution": [[32]]}, r"resolution: has the shape \(1, 1\); give \(n,\) or one value"),
        (
            {"resolution": [32, 64], "depth": np.ones((3, 4), dtype=int)},
            "arrays of different lengths: resolution 2, depth 3; give a row per network",
        ),
        ({"width": [64, 129, 256, 512]}, "width: some are not divisible by their heads"),
    ],
)
def test_columns_that_are_no_networks_are_refused(columns: dict[str, Any], message: str) -> None:
    with pytest.raises(ArchError, match=message):
        costs(CMT_S, **columns)


def test_widths_without_inner_channels_are_refused() -> None:
    stages = tuple(replace(stage, qk_ratio=0.5) for stage in CMT_S.stages)
    with pytest.raises(ArchError, match="some leave no hidden or query channels; use wider ones"):
        costs(replace(CMT_S, stages=stages), width=[1, 2, 4, 8])
