"""torch.fx, and timm's reparameterization for inference."""

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest
import torch
from timm.layers import (
    get_notrace_functions,
    get_notrace_modules,
    set_fused_attn,
    use_fused_attn,
)
from timm.utils import reparameterize_model
from torch import Tensor, fx, nn
from torchvision.models.feature_extraction import create_feature_extractor

from cmt_search.arch import Arch
from cmt_search.builder import CMT
from cmt_search.builder.layers import LMHSA
from tests.builder.registered import SMALL, create, images, trained

POSITIONS = ("stage", "block", "none")


def with_qk(ratio: float, *, position: str = "stage") -> Arch:
    """SMALL with other widths of queries and keys."""
    stages = tuple(replace(stage, qk_ratio=ratio) for stage in SMALL.stages)
    return replace(SMALL, stages=stages, position=position)


def gradients(model: nn.Module, x: Tensor) -> dict[str, Tensor | None]:
    """The gradients of a training step, by the parameter's name."""
    torch.manual_seed(0)
    out = model(x)
    (out["head"] if isinstance(out, dict) else out).square().sum().backward()
    return {name: p.grad for name, p in model.named_parameters()}


def assert_traced(traced: nn.Module, model: CMT) -> None:
    """The trace computes what the model does, and every parameter gets the same gradient."""
    x = images(model, count=4)
    torch.manual_seed(0)
    wanted = model(x)
    torch.manual_seed(0)
    out = traced(x)
    assert torch.equal(out["head"] if isinstance(out, dict) else out, wanted)
    there, here = gradients(traced, x), gradients(model, x)
    assert there.keys() == here.keys()
    for name, gradient in here.items():
        assert gradient is not None, name
        assert there[name] is not None, name
        assert torch.equal(there[name], gradient), name


@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("train", [False, True])
def test_torch_fx_traces_the_network(position: str, train: bool) -> None:
    model = trained(create(arch=with_qk(1.5, position=position), drop_path_rate=0.2)).train(train)
    assert_traced(fx.symbolic_trace(deepcopy(model)), model)


@pytest.mark.filterwarnings("ignore:NOTE. The nodes obtained by tracing")
@pytest.mark.parametrize("train", [False, True])
def test_the_network_is_traced_the_way_timm_does_it(train: bool) -> None:
    # Without drop path, whose scaling in place torchvision takes for dead code, in any network.
    model = trained(create()).train(train)
    tracing = {
        "leaf_modules": get_notrace_modules(),
        "autowrap_functions": get_notrace_functions(),
    }
    traced = create_feature_extractor(deepcopy(model), ["head"], tracer_kwargs=tracing)
    assert_traced(traced.train(train), model)


@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("ratio", [1.0, 0.5])
def test_folding_changes_no_logit(position: str, ratio: float) -> None:
    model = trained(create(arch=with_qk(ratio, position=position)).double())
    x, before = images(model), deepcopy(model.state_dict())
    logits = model(x)
    folded = reparameterize_model(model)
    assert torch.allclose(folded(x), logits, rtol=0, atol=1e-10)
    assert logits.std() > 1e-3
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert torch.equal(model(x), logits)


def test_folding_leaves_only_the_norms_that_an_activation_parts_from_their_convolution(
    small: CMT,
) -> None:
    folded = reparameterize_model(small)
    left = {name for name, m in folded.named_modules() if isinstance(m, nn.BatchNorm2d)}
    expands = {
        f"stages.{i}.blocks.{j}.irffn.expand.norm"
        for i, stage in enumerate(SMALL.stages)
        for j in range(stage.depth)
    }
    assert left == {"stem.0.norm", "stem.1.norm", "stem.2.norm"} | expands
    assert sum(p.numel() for p in folded.parameters()) < sum(p.numel() for p in small.parameters())


def test_folding_takes_the_residual_out_of_the_computation(small: CMT) -> None:
    folded = reparameterize_model(small)
    assert torch.equal(
        folded.stages[0].blocks[0].lpu.conv.weight[:, :, 1, 1],
        small.stages[0].blocks[0].lpu.conv.weight[:, :, 1, 1] + 1,
    )
    x = torch.randn(2, 8, 16, 16)
    lpu = folded.stages[0].blocks[0].lpu
    plain = nn.functional.conv2d(x, lpu.conv.weight, lpu.conv.bias, padding=1, groups=8)
    assert torch.equal(lpu(x), plain)


def test_folding_twice_is_folding_once() -> None:
    model = trained(create().double())
    logits = model(images(model))
    once = reparameterize_model(model, inplace=True)
    twice = reparameterize_model(once, inplace=True)
    assert twice is once is model
    assert torch.allclose(model(images(model)), logits, rtol=0, atol=1e-10)


@pytest.mark.parametrize("position", [False, True])
@pytest.mark.parametrize(("qk_width", "kv_stride"), [(6, 1), (24, 2), (12, 2)])
def test_attention_is_its_formula(qk_width: int, kv_stride: int, position: bool) -> None:
    heads, width, height, wide = 3, 12, 4, 6
    torch.manual_seed(0)
    attention = LMHSA(width, heads=heads, kv_stride=kv_stride, qk_width=qk_width).double().eval()
    x = torch.randn(2, height, wide, width, dtype=torch.float64)
    keys = height * wide // kv_stride**2
    table = torch.randn(heads, height * wide, keys, dtype=torch.float64)
    sources = x
    if attention.reduce is not None:
        sources = attention.reduce(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    wanted = torch.empty(2, height * wide, width, dtype=torch.float64)
    q, k, v = (
        linear(tokens.flatten(1, 2))
        for linear, tokens in ((attention.q, x), (attention.k, sources), (attention.v, sources))
    )
    for head in range(heads):
        part = slice(head * qk_width // heads, (head + 1) * qk_width // heads)
        values = slice(head * width // heads, (head + 1) * width // heads)
        for image in range(2):
            logits = q[image, :, part] @ k[image, :, part].T / (qk_width / heads) ** 0.5
            shares = (logits + table[head] * position).softmax(-1)
            wanted[image, :, values] = shares @ v[image, :, values]
    out = attention(x, table if position else None)
    assert torch.allclose(out.flatten(1, 2), attention.proj(wanted), rtol=0, atol=1e-12)


@pytest.mark.parametrize("position", POSITIONS)
def test_attention_without_fused_kernels_computes_the_same(position: str) -> None:
    torch.manual_seed(0)
    fused = create(arch=replace(SMALL, position=position)).double().eval()
    with set_fused_attn_back():
        set_fused_attn(False)
        plain = create(arch=replace(SMALL, position=position)).double().eval()
    plain.load_state_dict(fused.state_dict())
    assert [a.fused_attn for a in plain.modules() if isinstance(a, LMHSA)] == [False] * 6
    x = images(fused)
    assert torch.allclose(plain(x), fused(x), rtol=0, atol=1e-10)


@contextmanager
def set_fused_attn_back() -> Iterator[None]:
    before = use_fused_attn()
    yield
    set_fused_attn(before)


@pytest.mark.parametrize(("position", "tables"), [("block", 6), ("stage", 4)])
def test_every_table_has_its_part_in_the_logits(position: str, tables: int) -> None:
    model: Any = trained(create(arch=replace(SMALL, position=position)))
    x = images(model)
    before, moved = model(x), 0
    for owner in (*model.stages, *(block for stage in model.stages for block in stage.blocks)):
        if owner.position is not None:
            with torch.no_grad():
                owner.position[:, :, 0] += 2
                moved += not torch.allclose(model(x), before, atol=1e-6)
                owner.position[:, :, 0] -= 2
    assert moved == tables
