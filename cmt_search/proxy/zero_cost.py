"""Zero-cost proxies: scores of untrained networks. Higher is better.

Residual branches are initialised at full scale: where a recipe starts them at zero, most gradients
are zero, too.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from cmt_search.arch import Arch
from cmt_search.builder import CMT
from cmt_search.proxy.data import Dataset, resize

_TINY = 1e-12
_JITTER = 1e-6
_ZICO_BATCHES = 4  # for the spread between batches


def scores(arch: Arch, *, images: Tensor, labels: Tensor, seed: int) -> dict[str, float]:
    """Compute every score of a network, by name.

    Shape: images (B, C, S, S) normalised float at the network's resolution, labels (B,).
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        fresh = CMT(arch, pos_std=0.02)
    initial = {name: value.clone() for name, value in fresh.state_dict().items()}
    values = {}
    for name, score in SCORES.items():
        fresh.load_state_dict(initial)
        values[name] = score(fresh, images, labels)
    return values


def sample(data: Dataset, *, side: int, count: int) -> tuple[Tensor, Tensor]:
    """Return fixed training images at a resolution, normalised.

    Shape: (count, C, side, side) float32 and (count,) int64.
    """
    order = torch.randperm(len(data.train), generator=torch.Generator().manual_seed(0))
    images, labels = data.train.take(order[:count].to(data.train.labels.device))
    return data.normalize(resize(images, side)), labels


def gradient_norm(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Compute ln of the gradient's Euclidean norm on one batch.

    Source: Abdelfattah et al. 2021, arXiv:2101.08134.
    """
    gradients = _gradients(model, images, labels)
    return _log(sum(float(g.double().square().sum()) for g in gradients) ** 0.5)


def synflow(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Compute ln of the sum of |weight x gradient| with absolute weights and an input of ones.

    Norms are in inference mode, so that the score is independent of the images. Double precision
    holds the products of layers.
    Source: Tanaka et al. 2020, arXiv:2006.05467.
    """
    del labels  # the score is independent of the data
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
    """Compute ln det of the kernel that counts equal signs of the activations of two images.

    Defined for ReLU; the sign of a GELU's input is used alike.
    Source: Mellor et al. 2021, arXiv:2006.04647.
    """
    del labels
    model.train()
    with torch.no_grad(), _Signs() as signs:
        model(images)
    assert signs.kernel is not None, "a network has activations"
    # The jitter keeps the determinant finite for images with equal signs.
    kernel = signs.kernel / signs.units + _JITTER * torch.eye(len(images), dtype=torch.float64)
    return float(torch.linalg.slogdet(kernel)[1])


def zico(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Sum, over layers, ln of the mean |gradient| of the weights over its spread between batches.

    Source: Li et al. 2023, arXiv:2301.11300.
    """
    batches = zip(images.chunk(_ZICO_BATCHES), labels.chunk(_ZICO_BATCHES), strict=True)
    rows = [_gradients(model, x, y) for x, y in batches]
    total = 0.0
    for layer in zip(*rows, strict=True):
        if layer[0].ndim < 2:
            continue  # a bias or norm
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
    """Accumulates, over the activations of a pass, the kernel of equal signs between images."""

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
    """Compute the gradients of the mean cross-entropy, in order of the weights."""
    model.train()
    model.zero_grad()
    torch.autograd.backward(F.cross_entropy(model(images), labels))
    return [w.grad.clone() for w in model.parameters() if w.grad is not None]


def _log(value: float) -> float:
    return math.log(max(value, _TINY))
