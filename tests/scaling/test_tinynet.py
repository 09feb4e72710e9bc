"""TinyNet's shrinking goes through its published networks and meets the budget by width."""

import math

import numpy as np
import pytest

from cmt_search.cost import cost
from cmt_search.errors import BudgetError
from cmt_search.presets import PRESETS
from cmt_search.scaling import Grid, TinyNet
from cmt_search.scaling.catalogue import TINYNET_FACTORS
from cmt_search.scaling.continuous import SmoothFamily, log_macs

CMT_S = PRESETS["cmt_s"]
MACS = cost(CMT_S).macs


@pytest.mark.slow
def test_the_table_holds_the_networks_that_timm_builds() -> None:
    timm = pytest.importorskip("timm")
    torch = pytest.importorskip("torch")

    def count(name: str) -> tuple[int, int, list[int]]:
        """MACs of convolutions and linears, pixels, and blocks per stage."""
        with torch.device("meta"):
            net = timm.create_model(name).eval()
        side, macs = net.default_cfg["input_size"][-1], 0

        def add(layer: "torch.nn.Module", _: object, out: "torch.Tensor") -> None:
            nonlocal macs
            macs += out.numel() * layer.weight[0].numel()

        for layer in net.modules():
            if isinstance(layer, torch.nn.Conv2d | torch.nn.Linear):
                layer.register_forward_hook(add)
        net(torch.zeros(1, 3, side, side, device="meta"))
        return macs, side, [len(stage) for stage in net.blocks]

    whole, _, blocks = count("efficientnet_b0")
    for letter, (ratio, depth, resolution) in zip("edcba", TINYNET_FACTORS, strict=True):
        macs, side, deep = count(f"tinynet_{letter}")
        assert macs / whole == pytest.approx(ratio, abs=5e-5)
        assert side == int(224 * resolution)
        assert deep == [max(1, round(n * depth)) for n in blocks]


@pytest.mark.parametrize(("ratio", "depth", "resolution"), TINYNET_FACTORS[1:-1])
def test_published_factors_are_taken_at_their_share_of_the_macs(
    ratio: float, depth: float, resolution: float
) -> None:
    factors = np.exp(TinyNet(base=CMT_S).ideal(ratio * MACS))
    assert factors[[0, 2]] == pytest.approx((depth, resolution), rel=1e-9)


@pytest.mark.parametrize("name", ["cmt_s", "cmt_micro", "cmt_pico"])
@pytest.mark.parametrize("ratio", [0.08, 0.2, 0.5, 0.8])
def test_width_leaves_the_fractional_network_on_budget(name: str, ratio: float) -> None:
    base = PRESETS[name]
    family = SmoothFamily(base=base)
    x = TinyNet(base=base).ideal(ratio * cost(base).macs)
    assert math.exp(log_macs(family.at(x), like=family.sizes)) == pytest.approx(
        ratio * cost(base).macs, rel=1e-8
    )


@pytest.mark.parametrize("ratio", [0.07, 0.15, 0.4, 0.85])
def test_members_meet_the_budget_on_the_grid(ratio: float) -> None:
    member = TinyNet(base=CMT_S, grid=Grid(resolution_step=4)).member(ratio * MACS)
    assert member.cost.macs == pytest.approx(ratio * MACS, rel=0.01)
    assert member.arch.resolution % 4 == 0
    assert abs(math.log(member.arch.depth / CMT_S.depth / member.ideal.depth)) < 0.15


def test_depth_grows_at_first_while_the_network_shrinks() -> None:
    arch = TinyNet(base=CMT_S).member(0.85 * MACS).arch
    assert arch.depth > CMT_S.depth
    assert arch.stages[0].width < CMT_S.stages[0].width
    assert arch.resolution < CMT_S.resolution


@pytest.mark.parametrize(("ratio", "printed"), [(2, "200.0%"), (0.9, "90.0%"), (0.01, "1.0%")])
def test_a_budget_beyond_the_published_networks_is_refused(ratio: float, printed: str) -> None:
    with pytest.raises(BudgetError) as caught:
        TinyNet(base=CMT_S).member(ratio * MACS)
    assert str(caught.value) == (
        f"tinynet shrinks a base to 6.3%..87.3% of its MACs, not to {printed}; "
        "use a budget of 254,402,949 to 3,520,114,345 MACs"
    )
