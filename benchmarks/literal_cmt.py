"""CMT written down as its description reads: what `benchmarks/throughput.py` compares with.

Tokens are (B, N, C); every convolution gets its map by a transpose and gives tokens back by
another; the attention matrix is formed. PyTorch does such a transpose without a copy, and the
convolutions then run on maps in channels_last order; with `contiguous` every map is copied into
NCHW order first, as convolutions that know only that order need it. Parameters are registered in
the order of ours, so that `copy_weights` gives both the same function.
Source: CMT, arXiv:2107.06263, section 3; what the paper leaves open is as in its official code.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cmt_search.arch import Arch, Stage


def to_map(x: Tensor, side: int, *, contiguous: bool) -> Tensor:
    """(B, N, C) to (B, C, side, side)."""
    out = x.permute(0, 2, 1).reshape(x.shape[0], -1, side, side)
    return out.contiguous() if contiguous else out


def pad_to_multiple(x: Tensor, stride: int) -> Tensor:
    """Pad a map with zeros, bottom and right; the official code accepts multiples of 32 only."""
    below, right = -x.shape[-2] % stride, -x.shape[-1] % stride
    return F.pad(x, [0, right, 0, below]) if below or right else x


class ConvGeluNorm(nn.Sequential):
    """Convolution, GELU, BatchNorm."""

    def __init__(self, c_in: int, c_out: int, kernel: int, stride: int = 1) -> None:
        conv = nn.Conv2d(c_in, c_out, kernel, stride, padding=kernel // 2)
        super().__init__(conv, nn.GELU(), nn.BatchNorm2d(c_out))


class PatchEmbedding(nn.Module):
    """2x2 convolution of stride 2 and LayerNorm; (B, C, H, W) to (B, N, C)."""

    def __init__(self, c_in: int, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(c_in, width, 2, 2)
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.proj(pad_to_multiple(x, 2)).flatten(2).transpose(1, 2))


class Attention(nn.Module):
    """Softmax attention over strided keys and values, with the stage's table of biases."""

    def __init__(self, stage: Stage, *, contiguous: bool) -> None:
        super().__init__()
        self.contiguous = contiguous
        width, k = stage.width, stage.kv_stride
        self.heads, self.stride = stage.heads, k
        self.scale = (width // stage.heads) ** -0.5
        self.reduce = None
        if k > 1:
            conv = nn.Conv2d(width, width, k, k, groups=width)
            self.reduce = nn.Sequential(conv, nn.BatchNorm2d(width))
        self.q, self.k = nn.Linear(width, width), nn.Linear(width, width)
        self.v, self.proj = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x: Tensor, side: int, bias: Tensor) -> Tensor:
        batch, tokens, width = x.shape
        sources = x
        if self.reduce is not None:
            as_map = to_map(x, side, contiguous=self.contiguous)
            sources = (
                self.reduce(pad_to_multiple(as_map, self.stride))
                .reshape(batch, width, -1)
                .permute(0, 2, 1)
            )
        q, k, v = (
            layer(t).reshape(batch, t.shape[1], self.heads, -1).permute(0, 2, 1, 3)
            for layer, t in ((self.q, x), (self.k, sources), (self.v, sources))
        )
        weights = (q @ k.transpose(-2, -1) * self.scale + bias).softmax(dim=-1)
        return self.proj((weights @ v).transpose(1, 2).reshape(batch, tokens, width))


class FeedForward(nn.Module):
    """Inverted residual feed-forward network; tokens in, map inside, tokens out."""

    def __init__(self, stage: Stage, *, contiguous: bool) -> None:
        super().__init__()
        self.contiguous = contiguous
        width, hidden = stage.width, stage.hidden
        self.expand = ConvGeluNorm(width, hidden, 1)
        self.local = nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden)
        self.act = nn.GELU()
        self.local_norm = nn.BatchNorm2d(hidden)
        self.project = nn.Sequential(nn.Conv2d(hidden, width, 1), nn.BatchNorm2d(width))

    def forward(self, x: Tensor, side: int) -> Tensor:
        batch, tokens, width = x.shape
        x = self.expand(to_map(x, side, contiguous=self.contiguous))
        x = self.local_norm(self.act(self.local(x) + x))
        return self.project(x).reshape(batch, width, tokens).permute(0, 2, 1)


class Block(nn.Module):
    """LPU, attention, feed-forward."""

    def __init__(self, stage: Stage, *, contiguous: bool) -> None:
        super().__init__()
        self.contiguous = contiguous
        self.lpu = nn.Conv2d(stage.width, stage.width, 3, padding=1, groups=stage.width)
        self.norm1 = nn.LayerNorm(stage.width, eps=1e-6)
        self.attn = Attention(stage, contiguous=contiguous)
        self.norm2 = nn.LayerNorm(stage.width, eps=1e-6)
        self.irffn = FeedForward(stage, contiguous=contiguous)

    def forward(self, x: Tensor, side: int, bias: Tensor) -> Tensor:
        as_map = to_map(x, side, contiguous=self.contiguous)
        x = (self.lpu(as_map) + as_map).flatten(2).permute(0, 2, 1)
        x = x + self.attn(self.norm1(x), side, bias)
        return x + self.irffn(self.norm2(x), side)


class LiteralStage(nn.Module):
    """Patch embedding and blocks; (B, C, H, W) in and out."""

    def __init__(self, c_in: int, stage: Stage, side: int, *, contiguous: bool) -> None:
        super().__init__()
        keys = math.ceil(side / stage.kv_stride) ** 2
        self.side, self.contiguous = side, contiguous
        self.position = nn.Parameter(torch.randn(stage.heads, side * side, keys))
        self.patch_embed = PatchEmbedding(c_in, stage.width)
        self.blocks = nn.ModuleList(Block(stage, contiguous=contiguous) for _ in range(stage.depth))

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch_embed(x)
        for block in self.blocks:
            x = block(x, self.side, self.position)
        return to_map(x, self.side, contiguous=self.contiguous)


class LiteralCMT(nn.Module):
    """The network of an Arch with one position table per stage.

    Shape: (B, in_chans, resolution, resolution) in, (B, num_classes) out.
    """

    def __init__(self, arch: Arch, *, contiguous: bool = False) -> None:
        super().__init__()
        stem, side = arch.stem_width, arch.resolution // arch.stem_stride
        self.stem = nn.Sequential(
            ConvGeluNorm(arch.in_chans, stem, 3, arch.stem_stride),
            ConvGeluNorm(stem, stem, 3),
            ConvGeluNorm(stem, stem, 3),
        )
        stages, c_in = [], stem
        for stage in arch.stages:
            side = math.ceil(side / 2)
            stages.append(LiteralStage(c_in, stage, side, contiguous=contiguous))
            c_in = stage.width
        self.stages = nn.Sequential(*stages)
        self.neck = nn.Sequential(
            nn.Conv2d(c_in, arch.neck_width, 1), nn.BatchNorm2d(arch.neck_width)
        )
        self.head = nn.Linear(arch.neck_width, arch.num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.silu(self.neck(self.stages(self.stem(x))))
        return self.head(x.mean((2, 3)))


def copy_weights(source: nn.Module, target: nn.Module) -> None:
    """Give `target` the values of `source`; both register the same tensors in the same order."""
    ours, theirs = source.state_dict(), target.state_dict()
    if [v.shape for v in ours.values()] != [v.shape for v in theirs.values()]:
        raise ValueError("the two networks do not hold the same tensors in the same order")
    target.load_state_dict(dict(zip(theirs, ours.values(), strict=True)))
