"""Scores of networks without training: what a calibration holds against params and MACs.

More is better in all of them. They are taken at the initialisation that the builder draws with
whole residual branches: where a recipe starts them at zero, most gradients are zero too.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from cmt_search.arch import Arch
from cmt_search.builder import build
from cmt_search.proxy.data import Dataset, resize
from cmt_search.proxy.step import Normalize

_TINY = 1e-12
_JITTER = 1e-6
_ZICO_BATCHES = 4  # into which the images are parted for ZiCo's spread between batches


def scores(arch: Arch, *, images: Tensor, labels: Tensor, seed: int) -> dict[str, float]:
    """Every score of a network, by name.

    Shape: images (B, C, S, S) normalised float at the network's resolution, labels (B,).
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        fresh = build(arch, pos_std=0.02)
    initial = {name: value.clone() for name, value in fresh.state_dict().items()}
    found = {}
    for name, score in SCORES.items():
        fresh.load_state_dict(initial)
        found[name] = score(fresh, images, labels)
    return found


def sample(data: Dataset, *, side: int, count: int) -> tuple[Tensor, Tensor]:
    """Training images for scores, as a network of this resolution sees them; always the same.

    Shape: (count, C, side, side) float32 and (count,) int64.
    """
    order = torch.randperm(len(data.train), generator=torch.Generator().manual_seed(0))
    images, labels = data.train.take(order[:count].to(data.train.labels.device))
    return Normalize.of(data.mean, data.std)(resize(images, side)), labels


def gradient_norm(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    """ln of the gradient's Euclidean norm on one batch.

    Source: Abdelfattah et al. 2021, arXiv:2101.08134.
    """
    gradients = _gradients(model, images, labels)
    return _log(sum(float(g.double().square().sum()) for g in gradients) ** 0.5)


def synflow(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    """ln of the sum of |weight x gradient| of a network of absolute weights that sees only ones.

    Norms are as in inference, so that no image decides. In double precision: products of layers
    grow beyond single.
    Source: Tanaka et al. 2020, arXiv:2006.05467.
    """
    del labels  # it looks at no data
    model.double().eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.abs_()
    model.zero_grad()
    torch.autograd.backward(model(torch.ones_like(images[:1], dtype=torch.float64)).sum())
    flow = sum(
        float((weight.detach() * weight.grad).abs().sum())
        for weight in model.parameters()
        if weight.grad is not None
    )
    model.float()
    return _log(flow)


def naswot(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    """ln det of the kernel that counts where the activations of two images have equal signs.

    Made for ReLU; of a GELU, too, the sign of what goes in tells on from off.
    Source: Mellor et al. 2021, arXiv:2006.04647.
    """
    del labels
    model.train()
    with torch.no_grad(), _Signs() as signs:
        model(images)
    assert signs.kernel is not None, "a network has activations"
    # Images that no activation tells apart have no determinant: a little keeps it finite.
    kernel = signs.kernel / signs.units + _JITTER * torch.eye(len(images), dtype=torch.float64)
    return float(torch.linalg.slogdet(kernel)[1])


def zico(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Sum over layers of ln of the weights' mean |gradient| over its spread between batches.

    Source: Li et al. 2023, arXiv:2301.11300.
    """
    batches = zip(images.chunk(_ZICO_BATCHES), labels.chunk(_ZICO_BATCHES), strict=True)
    rows = [_gradients(model, x, y) for x, y in batches]
    total = 0.0
    for layer in zip(*rows, strict=True):
        if layer[0].ndim < 2:
            continue  # biases and norms are no layers of their own
        size = torch.stack(layer).abs().double()
        spread = size.std(dim=0, correction=0)
        moving = spread > 0
        if moving.any():
            total += _log(float((size.mean(dim=0)[moving] / spread[moving]).sum()))
    return total


Score = Callable[[nn.Module, Tensor, Tensor], float]
SCORES: Mapping[str, Score] = {
    "gradient norm": gradient_norm,
    "synflow": synflow,
    "NASWOT": naswot,
    "ZiCo": zico,
}


class _Signs(TorchFunctionMode):
    """Sums, over all activations of a pass, the kernel of equal signs between images."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel: Tensor | None = None  # (B, B) how many activations agree
        self.units = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in (F.gelu, F.relu):
            on = (args[0] > 0).flatten(1).double()
            agree = on @ on.T + (1 - on) @ (1 - on).T
            self.kernel = agree if self.kernel is None else self.kernel + agree
            self.units += on.shape[1]
        return func(*args, **(kwargs or {}))


def _gradients(model: nn.Module, images: Tensor, labels: Tensor) -> list[Tensor]:
    """Of the mean cross-entropy in the weights, in order."""
    model.train()
    model.zero_grad()
    torch.autograd.backward(F.cross_entropy(model(images), labels))
    return [w.grad.clone() for w in model.parameters() if w.grad is not None]


def _log(value: float) -> float:
    return math.log(max(value, _TINY))
