"""A CMT (arXiv:2107.06263) in one file that needs PyTorch and nothing else.

    model = create()                      # freshly initialised
    model = create(weights="model.pt")    # with a state dict of torch.save

Images come as (batch, channels, side, side); the answer is (batch, classes).
The keys of the state dict are those of cmt_search, which wrote this file.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# Constants: begin.
FORMAT = "cmt_search/variant"
VERSION = 2
NAME = "example"
ARCH = {
    "resolution": 14,
    "stem_width": 4,
    "stages": [
        {
            "depth": 1,
            "width": 8,
            "heads": 1,
            "kv_stride": 1,
            "mlp_ratio": 4.0,
            "qk_ratio": 1.0,
        },
    ],
    "stem_stride": 1,
    "neck_width": 64,
    "position": "stage",
    "in_chans": 1,
    "num_classes": 10,
}
# Constants: end.


def create(
    weights: str | None = None, *, drop_path_rate: float = 0.0, pos_std: float = 1.0
) -> "CMT":
    """The network; `weights` is a file of torch.save that holds its state dict."""
    model = CMT(ARCH, drop_path_rate=drop_path_rate, pos_std=pos_std)
    if weights is not None:
        model.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    return model


class CMT(nn.Module):
    """Stem, stages of convolution and attention, neck, classifier."""

    def __init__(self, arch: dict[str, Any], *, drop_path_rate: float, pos_std: float) -> None:
        super().__init__()
        width, side = arch["stem_width"], _ceil_div(arch["resolution"], arch["stem_stride"])
        self.stem = nn.Sequential(
            ConvGeluNorm(arch["in_chans"], width, kernel=3, stride=arch["stem_stride"]),
            ConvGeluNorm(width, width, kernel=3),
            ConvGeluNorm(width, width, kernel=3),
        )
        depth = sum(stage["depth"] for stage in arch["stages"])
        rates = [drop_path_rate * i / max(depth - 1, 1) for i in range(depth)]
        self.stages = nn.ModuleList()
        for stage in arch["stages"]:
            side = _ceil_div(side, 2)
            mine, rates = rates[: stage["depth"]], rates[stage["depth"] :]
            table = _table_shape(stage, side=side)
            self.stages.append(Stage(width, stage, mine, arch["position"], table, pos_std))
            width = stage["width"]
        self.neck = Neck(width, arch["neck_width"])
        self.apply(_init)
        self.head: nn.Module = nn.Identity()
        if arch["num_classes"]:
            self.head = nn.Linear(arch["neck_width"], arch["num_classes"])
            self.head.apply(_init)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for stage in self.stages:
            x = stage(x)
        x = self.neck(x).mean((2, 3))
        logits: Tensor = self.head(x)
        return logits


class Stage(nn.Module):
    """Halve the map, then blocks, which share a table of position biases or have their own."""

    def __init__(
        self,
        c_in: int,
        stage: dict[str, Any],
        rates: list[float],
        position: str,
        table: tuple[int, int, int],
        pos_std: float,
    ) -> None:
        super().__init__()

        def new(owner: str) -> nn.Parameter | None:
            return nn.Parameter(torch.randn(table) * pos_std) if position == owner else None

        self.position = new("stage")
        self.patch_embed = PatchEmbed(c_in, stage["width"])
        self.blocks = nn.ModuleList(Block(stage, rate, new("block")) for rate in rates)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch_embed(x)
        for block in self.blocks:
            x = block(x, self.position)
        return x


class Block(nn.Module):
    """Local perception unit, then attention and feed-forward as residual branches."""

    def __init__(self, stage: dict[str, Any], rate: float, position: nn.Parameter | None) -> None:
        super().__init__()
        width = stage["width"]
        self.position = position
        self.lpu = LPU(width)
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = Attention(stage)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.irffn = IRFFN(width, int(width * stage["mlp_ratio"]))
        self.rate = rate

    def forward(self, x: Tensor, shared: Tensor | None) -> Tensor:
        position = shared if self.position is None else self.position
        x = self.lpu(x)
        attended = self.attn(self.norm1(x.permute(0, 2, 3, 1)), position)
        x = x + self.dropped(attended.permute(0, 3, 1, 2))
        normed = self.norm2(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return x + self.dropped(self.irffn(normed))

    def dropped(self, branch: Tensor) -> Tensor:
        """Stochastic depth: whole images lose the branch in training, others are scaled up."""
        if not self.training or self.rate == 0:
            return branch
        kept = torch.rand(branch.shape[0], 1, 1, 1, device=branch.device) >= self.rate
        scaled: Tensor = branch * kept.to(branch.dtype) / (1 - self.rate)
        return scaled


class LPU(nn.Module):
    """Local perception unit: x + depthwise 3x3 convolution of x."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1, groups=width)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.conv(x)
        return out


class Attention(nn.Module):
    """Multi-head attention to a strided map, with a table of position biases."""

    def __init__(self, stage: dict[str, Any]) -> None:
        super().__init__()
        width, self.heads = stage["width"], stage["heads"]
        qk_width = int(width // self.heads * stage["qk_ratio"]) * self.heads
        self.reduce = KeyReduction(width, stage["kv_stride"]) if stage["kv_stride"] > 1 else None
        self.q = nn.Linear(width, qk_width)
        self.k = nn.Linear(width, qk_width)
        self.v = nn.Linear(width, width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, position: Tensor | None) -> Tensor:
        sources = x
        if self.reduce is not None:
            sources = self.reduce(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        q, k, v = self.split(self.q(x)), self.split(self.k(sources)), self.split(self.v(sources))
        logits = q @ (k * q.shape[-1] ** -0.5).transpose(-2, -1)
        if position is not None:
            logits = logits + position
        out = logits.softmax(-1) @ v
        merged: Tensor = self.proj(out.transpose(1, 2).reshape(x.shape))
        return merged

    def split(self, x: Tensor) -> Tensor:
        """(B, H, W, C) to (B, heads, H * W, C / heads)."""
        tokens: Tensor = x.flatten(1, 2).unflatten(-1, (self.heads, -1))
        return tokens.transpose(1, 2)


class KeyReduction(nn.Module):
    """Depthwise convolution of stride k and BatchNorm; odd maps are padded."""

    def __init__(self, width: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, stride, stride, groups=width)
        self.norm = nn.BatchNorm2d(width)
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        reduced: Tensor = self.norm(self.conv(_padded(x, self.stride)))
        return reduced


class IRFFN(nn.Module):
    """Inverted residual feed-forward network: widen, mix neighbours, narrow."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.expand = ConvGeluNorm(width, hidden, kernel=1)
        self.local = nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden)
        self.local_norm = nn.BatchNorm2d(hidden)
        self.project = nn.Conv2d(hidden, width, 1)
        self.project_norm = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        x = self.expand(x)
        x = self.local_norm(F.gelu(x + self.local(x)))
        narrow: Tensor = self.project_norm(self.project(x))
        return narrow


class ConvGeluNorm(nn.Module):
    """Convolution, GELU, BatchNorm, in that order."""

    def __init__(self, c_in: int, c_out: int, *, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(c_in, c_out, kernel, stride, padding=kernel // 2)
        self.norm = nn.BatchNorm2d(c_out)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.norm(F.gelu(self.conv(x)))
        return out


class PatchEmbed(nn.Module):
    """2x2 convolution of stride 2, then LayerNorm over channels."""

    def __init__(self, c_in: int, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(c_in, width, 2, 2)
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        x = self.proj(_padded(x, 2))
        out: Tensor = self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return out


class Neck(nn.Module):
    """The last layer before pooling: 1x1 convolution, BatchNorm, SiLU."""

    def __init__(self, c_in: int, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(c_in, width, 1)
        self.norm = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        return F.silu(self.norm(self.conv(x)))


def _padded(x: Tensor, stride: int) -> Tensor:
    """The map with zeros below and to the right, until `stride` divides its sides."""
    return F.pad(x, [0, -x.shape[-1] % stride, 0, -x.shape[-2] % stride])


def _table_shape(stage: dict[str, Any], *, side: int) -> tuple[int, int, int]:
    """(heads, queries, keys) of a stage whose map has `side` pixels on each side."""
    return stage["heads"], side**2, _ceil_div(side, stage["kv_stride"]) ** 2


def _ceil_div(value: int, by: int) -> int:
    return math.ceil(value / by)


def _init(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
    elif isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out")
    if isinstance(module, nn.Linear | nn.Conv2d) and module.bias is not None:
        nn.init.zeros_(module.bias)


# Facts: begin.
PARAMS = 3278
MACS = 88840
ACTIVATIONS = 17000
WEIGHTS: dict[str, Any] | None = None
PROVENANCE: dict[str, Any] = {}
CODE = ""
KEY = ""
CHECKSUMS: dict[str, str] = {}
# Facts: end.
