"""Sixteen bits: autocast from random values on, and whole networks in half precision."""

from collections.abc import Iterator
from copy import deepcopy

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from cmt_search.builder import CMT
from cmt_search.builder.layers import ResidualDepthwise
from cmt_search.presets import PRESETS
from tests.builder.registered import images, trained
from tests.builder.tiny import tiny

STEPS = 100
CUDA = pytest.param(
    "cuda",
    marks=[
        pytest.mark.gpu,
        pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
    ],
)


def losses_of_training(
    *, device: str, dtype: torch.dtype, pos_std: float, residual_scale: float
) -> Iterator[float]:
    """The loss of every step on one small batch; the last parameters are finite as well."""
    torch.manual_seed(0)
    model = tiny(input_size=(9, 9), pos_std=pos_std, residual_scale=residual_scale).to(device)
    batch = images(model, count=8).to(device)
    labels = torch.arange(8, device=device) % model.num_classes
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    scaler = torch.amp.GradScaler(device, enabled=dtype == torch.float16)
    for _ in range(STEPS):
        with torch.autocast(device, dtype):
            loss = F.cross_entropy(model(batch), labels)
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        yield loss.item()
    for name, value in model.state_dict().items():
        assert value.isfinite().all(), name


PAPER, PROXY = (1.0, 1.0), (0.02, 0.0)  # pos_std and residual_scale


@pytest.mark.parametrize("device", ["cpu", CUDA])
@pytest.mark.parametrize(
    ("dtype", "pos_std", "residual_scale"),
    [
        pytest.param(torch.bfloat16, *PAPER, id="bf16-paper"),
        pytest.param(torch.float16, *PROXY, id="fp16-proxy"),
        pytest.param(torch.bfloat16, *PROXY, id="bf16-proxy", marks=pytest.mark.slow),
        pytest.param(torch.float16, *PAPER, id="fp16-paper", marks=pytest.mark.slow),
    ],
)
def test_a_fresh_network_learns_under_autocast_without_a_nan(
    device: str, dtype: torch.dtype, pos_std: float, residual_scale: float
) -> None:
    losses = torch.tensor(
        list(
            losses_of_training(
                device=device, dtype=dtype, pos_std=pos_std, residual_scale=residual_scale
            )
        )
    )
    assert losses.isfinite().all()
    assert losses[-10:].mean() < 0.5 * losses[:10].mean()


@pytest.mark.slow
@pytest.mark.parametrize("device", ["cpu", CUDA])
def test_every_gradient_of_cmt_ti_is_finite_under_autocast(device: str) -> None:
    torch.manual_seed(0)
    model = CMT(PRESETS["cmt_ti"]).to(device)
    with torch.autocast(device, torch.bfloat16):
        loss = F.cross_entropy(model(images(model).to(device)), torch.tensor([1, 2], device=device))
    loss.backward()
    assert loss.isfinite()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


@pytest.mark.parametrize("position", ["stage", "block", "none"])
@pytest.mark.parametrize(("dtype", "error"), [(torch.bfloat16, 0.1), (torch.float16, 0.01)])
def test_half_precision_changes_logits_by_little(
    position: str, dtype: torch.dtype, error: float
) -> None:
    model = trained(tiny(position=position))
    batch = images(model)
    with torch.no_grad():
        wanted = model(batch)
        with torch.autocast("cpu", dtype):
            mixed = model(batch)
        half = deepcopy(model).to(dtype)(batch.to(dtype))
    assert half.dtype == mixed.dtype == dtype
    for logits in (mixed, half):
        assert (logits.float() - wanted).abs().max() < error * wanted.std()


def residual(*, centre: float) -> ResidualDepthwise:
    """A layer whose kernels have these centres, and otherwise are the same whatever the centre."""
    torch.manual_seed(0)
    layer = ResidualDepthwise(8)
    with torch.no_grad():
        layer.weight[:, :, 1, 1] = centre
    return layer


@pytest.mark.parametrize("input_dtype", [torch.float32, torch.bfloat16])
def test_weights_beside_the_residual_are_not_swallowed_by_bf16(input_dtype: torch.dtype) -> None:
    """1 + 2^-9 is 1 in bf16, which has 8 bits."""
    centre = 2.0**-9
    assert torch.tensor(1 + centre).bfloat16() == 1
    torch.manual_seed(1)
    x = torch.randn(16, 8, 32, 32).to(input_dtype)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        change = (residual(centre=centre)(x).float() - residual(centre=0.0)(x).float()).double()
    assert slope(change, on=x.double()) == pytest.approx(centre, rel=0.1)


def slope(y: Tensor, *, on: Tensor) -> float:
    """The factor that makes `on` most like `y`: single values are rounded, their mean is not."""
    return ((y * on).sum() / on.square().sum()).item()


def test_full_precision_adds_the_residual_to_the_kernel() -> None:
    layer, x = residual(centre=0.25).double(), torch.randn(2, 8, 5, 6).double()
    wanted = x + F.conv2d(x, layer.weight, layer.bias, padding=1, groups=8)
    assert torch.allclose(layer(x), wanted, rtol=0, atol=1e-12)
