"""The CPU's kernels for small maps compute the plain convolutions, forward and backward."""

from typing import Any

import pytest
import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from cmt_search.builder import CMT, layers
from cmt_search.presets import PRESETS

Convolution = Any
CHANNELS = 5
SIZES = [(1, 1), (1, 3), (2, 2), (2, 1), (2, 5), (3, 2), (4, 4), (8, 8), (9, 8)]


def plain_depthwise(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return F.conv2d(x, weight, bias, padding=1, groups=weight.shape[0])


def plain_residual(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return x + plain_depthwise(x, weight, bias)


def plain_patches(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return F.conv2d(x, weight, bias, weight.shape[-1])


def inputs(size: tuple[int, int], *, weight: tuple[int, ...], batch: int = 3) -> list[Tensor]:
    torch.manual_seed(0)
    x = torch.randn(batch, CHANNELS, *size).contiguous(memory_format=torch.channels_last)
    return [x, torch.randn(weight), torch.randn(weight[0])]


def value_and_gradients(function: Convolution, tensors: list[Tensor]) -> list[Tensor]:
    leaves = [tensor.clone().requires_grad_() for tensor in tensors]
    out = function(*leaves)
    upstream = torch.randn(out.shape, generator=torch.Generator().manual_seed(1)).to(out.dtype)
    return [out, *torch.autograd.grad(out, leaves, upstream)]


def assert_equal_convolutions(function: Convolution, plain: Convolution, *given: Any) -> None:
    tensors = inputs(*given[:1], weight=given[1])
    for dtype, tolerance in ((torch.float32, 2e-5), (torch.float64, 1e-12)):
        cast = [tensor.to(dtype) for tensor in tensors]
        pairs = zip(
            value_and_gradients(function, cast), value_and_gradients(plain, cast), strict=True
        )
        for computed, expected in pairs:
            assert computed.shape == expected.shape
            assert torch.allclose(computed, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    ("function", "plain"),
    [(layers.depthwise, plain_depthwise), (layers.residual_depthwise, plain_residual)],
    ids=["plain", "residual"],
)
def test_a_depthwise_convolution_is_the_plain_one(
    function: Convolution, plain: Convolution, size: tuple[int, int]
) -> None:
    assert_equal_convolutions(function, plain, size, (CHANNELS, 1, 3, 3))


@pytest.mark.parametrize("size", SIZES)
def test_a_pointwise_convolution_is_the_plain_one(size: tuple[int, int]) -> None:
    assert_equal_convolutions(layers.conv_patches, plain_patches, size, (7, CHANNELS, 1, 1))


@pytest.mark.parametrize("size", [(2, 2), (4, 2), (8, 16), (18, 18)])
def test_a_convolution_of_patches_is_the_plain_one(size: tuple[int, int]) -> None:
    assert_equal_convolutions(layers.conv_patches, plain_patches, size, (7, CHANNELS, 2, 2))


def operators(function: Convolution, tensors: list[Tensor]) -> set[str]:
    with torch.profiler.profile() as profiled:
        function(*tensors)
    return {event.key for event in profiled.key_averages()}


@pytest.mark.parametrize(
    ("function", "size", "weight", "convolves"),
    [
        (layers.depthwise, (1, 1), (CHANNELS, 1, 3, 3), False),
        (layers.depthwise, (2, 2), (CHANNELS, 1, 3, 3), True),
        (layers.conv_patches, (8, 8), (7, CHANNELS, 1, 1), False),
        (layers.conv_patches, (9, 8), (7, CHANNELS, 1, 1), True),
        (layers.conv_patches, (16, 16), (7, CHANNELS, 2, 2), False),
    ],
)
def test_the_size_of_the_map_decides_the_kernel(
    function: Convolution, size: tuple[int, int], weight: tuple[int, ...], convolves: bool
) -> None:
    found = operators(function, inputs(size, weight=weight))
    assert ("aten::convolution" in found) == convolves


def test_an_evaluation_convolves_the_maps_as_they_are() -> None:
    tensors = inputs((2, 2), weight=(CHANNELS, 1, 3, 3))
    assert "aten::constant_pad_nd" in operators(layers.depthwise, tensors)
    with torch.no_grad():
        assert "aten::constant_pad_nd" not in operators(layers.depthwise, tensors)
        assert torch.equal(layers.depthwise(*tensors), plain_depthwise(*tensors))


def step(model: nn.Module, batch: Tensor) -> tuple[Tensor, list[Tensor]]:
    loss = F.cross_entropy(model(batch), torch.arange(len(batch)) % 10)
    return loss, list(torch.autograd.grad(loss, list(model.parameters())))


def test_a_training_step_has_the_loss_and_gradients_of_plain_convolutions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch.manual_seed(0)
    model, batch = CMT(PRESETS["cmt_pico"]).train(), torch.randn(16, 3, 14, 14)
    loss, gradients = step(model, batch)
    monkeypatch.setattr(layers, "depthwise", plain_depthwise)
    monkeypatch.setattr(layers, "conv_patches", plain_patches)
    plain_loss, plain_gradients = step(model, batch)
    assert loss.item() == pytest.approx(plain_loss.item(), abs=1e-6)
    for gradient, expected in zip(gradients, plain_gradients, strict=True):
        assert (gradient - expected).abs().max() < 2e-5 * max(1.0, float(expected.abs().max()))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_keeps_its_precision_on_small_maps(dtype: torch.dtype) -> None:
    tensors = inputs((1, 1), weight=(CHANNELS, 1, 3, 3))
    with torch.autocast("cpu", dtype):
        for function in (layers.depthwise, layers.residual_depthwise):
            low = function(tensors[0].to(dtype), *tensors[1:])
            assert low.dtype == dtype
        pointwise = layers.conv_patches(*inputs((2, 2), weight=(7, CHANNELS, 1, 1)))
        assert pointwise.dtype == dtype


def test_the_meta_device_counts_plain_convolutions() -> None:
    tensors = [tensor.to("meta") for tensor in inputs((2, 2), weight=(CHANNELS, 1, 3, 3))]
    with FlopCounterMode(display=False) as counter:
        assert layers.depthwise(*tensors).shape == (3, CHANNELS, 2, 2)
    assert counter.get_total_flops() == 2 * 3 * CHANNELS * 4 * 9


def test_a_symbolic_trace_keeps_the_choice_of_kernels() -> None:
    torch.manual_seed(0)
    model = CMT(PRESETS["cmt_pico"]).train()
    traced = fx.symbolic_trace(model)
    called = {node.target for node in traced.graph.nodes if node.op == "call_function"}
    assert called >= {layers.residual_depthwise, layers.conv_patches}


def test_an_exported_program_holds_plain_convolutions_and_takes_any_batch() -> None:
    torch.manual_seed(0)
    model, batch = CMT(PRESETS["cmt_pico"]).eval(), torch.randn(2, 3, 14, 14)
    shapes = ({0: torch.export.Dim("batch")},)
    program = torch.export.export(model, (batch,), dynamic_shapes=shapes)
    convolutions = sum("conv2d" in str(node.target) for node in program.graph.nodes)
    assert convolutions == sum(isinstance(module, nn.Conv2d) for module in model.modules())
    images = torch.randn(5, 3, 14, 14)
    assert torch.allclose(program.module()(images), model(images), atol=1e-5)
