"""Scores without training: each against what it is by definition, on a net that can be computed."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from cmt_search.arch import Arch, Stage
from cmt_search.proxy.zero_cost import SCORES, gradient_norm, naswot, scores, synflow, zico

IMAGES = torch.randn(8, 3, 16, 16, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(8) % 4


class Line(nn.Module):
    """Images to logits by two matrices with a ReLU between."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        self.first = nn.Parameter(torch.randn(5, 4, generator=generator))
        self.second = nn.Parameter(torch.randn(3, 5, generator=generator))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(x @ self.first.T.to(x.dtype)) @ self.second.T.to(x.dtype)


X = torch.randn(8, 4, generator=torch.Generator().manual_seed(2))
Y = torch.arange(8) % 3


def test_the_gradient_norm_is_that_of_one_batch() -> None:
    model = Line()
    grads = torch.autograd.grad(F.cross_entropy(model(X), Y), list(model.parameters()))
    norm = torch.cat([g.flatten() for g in grads]).norm()
    assert gradient_norm(model, X, Y) == pytest.approx(math.log(norm))


def test_synflow_of_two_layers_is_twice_the_flow_through_absolute_weights() -> None:
    model = Line()
    flow = (model.second.abs() @ model.first.abs()).sum().item()
    assert synflow(model, X, Y) == pytest.approx(math.log(2 * flow), rel=1e-6)


def test_naswot_counts_equal_signs_before_the_activation() -> None:
    model = Line()
    on = X @ model.first.T > 0
    kernel = (on[:, None] == on[None]).double().mean(2)
    expected = torch.linalg.slogdet(kernel + 1e-6 * torch.eye(8))[1].item()
    assert naswot(model, X, Y) == pytest.approx(expected, abs=1e-3)


def test_images_that_nothing_tells_apart_leave_naswot_finite() -> None:
    assert math.isfinite(naswot(Line(), X[[0, 0, 1]], Y[:3]))


def test_zico_is_mean_over_spread_of_gradients_between_batches() -> None:
    model = Line()
    rows = [
        torch.autograd.grad(F.cross_entropy(model(x), y), list(model.parameters()))
        for x, y in zip(X.chunk(4), Y.chunk(4), strict=True)
    ]
    total = 0.0
    for layer in zip(*rows, strict=True):
        size = torch.stack(layer).abs().double()
        spread = size.std(0, correction=0)
        total += math.log((size.mean(0)[spread > 0] / spread[spread > 0]).sum())
    assert zico(model, X, Y) == pytest.approx(total, rel=1e-5)


def test_every_score_of_a_network_is_finite_and_hangs_on_the_seed_alone() -> None:
    stages = tuple(Stage(depth=1, width=8 * 2**i, heads=2**i, kv_stride=2) for i in range(2))
    arch = Arch(resolution=16, stem_width=8, stages=stages, neck_width=32, num_classes=4)
    first = scores(arch, images=IMAGES, labels=LABELS, seed=0)
    assert list(first) == list(SCORES)
    assert all(math.isfinite(value) for value in first.values())
    torch.rand(3)
    assert scores(arch, images=IMAGES, labels=LABELS, seed=0) == first
    assert scores(arch, images=IMAGES, labels=LABELS, seed=1) != first
