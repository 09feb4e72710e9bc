"""The closed-form cost equals what torch builds and counts."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from cmt_search.arch import POSITIONS, Arch, Stage
from cmt_search.builder import CMT
from cmt_search.cost import cost


@st.composite
def stages(draw: st.DrawFn) -> Stage:
    heads, head_dim = draw(st.integers(1, 4)), draw(st.integers(1, 9))
    return Stage(
        depth=draw(st.integers(1, 2)),
        width=heads * head_dim,
        heads=heads,
        kv_stride=draw(st.sampled_from([1, 2, 3, 4, 8])),
        mlp_ratio=draw(st.floats(1.0, 5.0)),
        qk_ratio=draw(st.just(1.0) | st.floats(1.01 / head_dim, 2)),  # one channel at least
    )


archs = st.builds(
    Arch,
    resolution=st.integers(1, 75),
    stem_width=st.integers(1, 12),
    stages=st.lists(stages(), min_size=1, max_size=4).map(tuple),
    stem_stride=st.integers(1, 2),
    neck_width=st.integers(1, 40),
    position=st.sampled_from(POSITIONS),
    in_chans=st.integers(1, 4),
    num_classes=st.integers(0, 12),
)


@settings(max_examples=25, deadline=None)
@given(arch=archs, other_side=st.none() | st.integers(1, 75))
def test_cost_equals_what_torch_builds_and_counts(arch: Arch, other_side: int | None) -> None:
    size = (arch.resolution, other_side or arch.resolution)
    activations = 0

    def count(_module: nn.Module, _inputs: object, output: Tensor) -> None:
        nonlocal activations
        activations += output.numel()

    with torch.device("meta"):
        model = CMT(arch, input_size=size).eval()
        for module in model.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                module.register_forward_hook(count)
        with FlopCounterMode(display=False) as counter:
            model(torch.empty(1, arch.in_chans, *size))

    closed = cost(arch, input_size=size)
    assert closed.params == sum(p.numel() for p in model.parameters())
    assert closed.macs * 2 == counter.get_total_flops()
    assert closed.activations == activations
