"""The parts of a CMT. Maps are (B, C, H, W) in channels_last, so (B, H, W, C) is a free view."""

import torch
from timm.layers.drop import DropPath
from torch import Tensor, nn
from torch.nn import functional as F


def pad_to_multiple(x: Tensor, stride: int) -> Tensor:
    """Pad a map with zeros, bottom and right, until `stride` divides its sides.

    Shape: (B, C, H, W) in, (B, C, ceil(H / stride) * stride, ceil(W / stride) * stride) out.
    """
    height, width = x.shape[-2:]
    below, right = -height % stride, -width % stride
    return F.pad(x, (0, right, 0, below)) if below or right else x


class ConvGeluNorm(nn.Module):
    """Convolution with bias, GELU, BatchNorm, in that order.

    Shape: (B, c_in, H, W) in, (B, c_out, ceil(H / stride), ceil(W / stride)) out.
    Source: CMT's official code: stem, and first layer of the IRFFN.
    """

    def __init__(self, c_in: int, c_out: int, *, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(c_in, c_out, kernel, stride, padding=kernel // 2)
        self.norm = nn.BatchNorm2d(c_out)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.norm(F.gelu(self.conv(x)))
        return out


class PatchEmbed(nn.Module):
    """Halve a map: 2x2 convolution of stride 2, then LayerNorm over channels.

    Shape: (B, c_in, H, W) in, (B, width, ceil(H / 2), ceil(W / 2)) out.
    Source: CMT, arXiv:2107.06263, section 3.1.
    """

    def __init__(self, c_in: int, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(c_in, width, 2, 2)
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        x = self.proj(pad_to_multiple(x, 2))
        return _as_map(self.norm(_as_tokens(x)))


class LPU(nn.Module):
    """Local perception unit, `x + dwconv3x3(x)`.

    Shape: (B, width, H, W) in and out.
    Source: CMT, arXiv:2107.06263, equation 1.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1, groups=width)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.conv(x)
        return out


class KeyReduction(nn.Module):
    """The map that keys and values are taken from: depthwise k x k of stride k, BatchNorm.

    Shape: (B, width, H, W) in, (B, width, ceil(H / k), ceil(W / k)) out.
    """

    def __init__(self, width: int, *, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.conv = nn.Conv2d(width, width, stride, stride, groups=width)
        self.norm = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.norm(self.conv(pad_to_multiple(x, self.stride)))
        return out


class LMHSA(nn.Module):
    """Lightweight multi-head self-attention: fewer keys than queries, plus a position table.

    Shape: tokens (B, H, W, width) in and out; position (heads, H * W, keys).
    Source: CMT, arXiv:2107.06263, equations 2 and 3.
    """

    def __init__(self, width: int, *, heads: int, kv_stride: int) -> None:
        super().__init__()
        self.heads = heads
        self.reduce = KeyReduction(width, stride=kv_stride) if kv_stride > 1 else None
        self.q = nn.Linear(width, width)
        self.k = nn.Linear(width, width)
        self.v = nn.Linear(width, width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, position: Tensor) -> Tensor:
        sources = x if self.reduce is None else _as_tokens(self.reduce(_as_map(x)))
        q, k, v = (self._split(t) for t in (self.q(x), self.k(sources), self.v(sources)))
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=position.to(q.dtype))
        merged: Tensor = self.proj(out.transpose(1, 2).reshape(x.shape))
        return merged

    def _split(self, x: Tensor) -> Tensor:
        batch, height, width, channels = x.shape
        heads = (self.heads, channels // self.heads)
        return x.reshape(batch, height * width, *heads).transpose(1, 2)


class IRFFN(nn.Module):
    """Inverted residual feed-forward network: widen, mix neighbours, narrow.

    Shape: (B, width, H, W) in and out.
    Source: CMT, arXiv:2107.06263, equation 4; the inner residual sits before the GELU.
    """

    def __init__(self, width: int, *, hidden: int) -> None:
        super().__init__()
        self.expand = ConvGeluNorm(width, hidden, kernel=1)
        self.local = nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden)
        self.local_norm = nn.BatchNorm2d(hidden)
        self.project = nn.Conv2d(hidden, width, 1)
        self.project_norm = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        x = self.expand(x)
        x = self.local_norm(F.gelu(self.local(x) + x))
        out: Tensor = self.project_norm(self.project(x))
        return out


class Block(nn.Module):
    """LPU, then attention and feed-forward, both as residual branches after a LayerNorm.

    Shape: (B, width, H, W) in and out; position (heads, H * W, keys).
    Source: CMT, arXiv:2107.06263, section 3.2.
    """

    def __init__(
        self, width: int, *, heads: int, kv_stride: int, hidden: int, drop_path: float
    ) -> None:
        super().__init__()
        self.lpu = LPU(width)
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = LMHSA(width, heads=heads, kv_stride=kv_stride)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.irffn = IRFFN(width, hidden=hidden)
        self.drop_path = DropPath(drop_path)

    def scale_branches(self, scale: float) -> None:
        """Multiply what both residual branches give, by their last weights."""
        with torch.no_grad():
            self.attn.proj.weight.mul_(scale)
            self.irffn.project_norm.weight.mul_(scale)

    def forward(self, x: Tensor, position: Tensor) -> Tensor:
        x = self.lpu(x)
        x = x + self.drop_path(_as_map(self.attn(self.norm1(_as_tokens(x)), position)))
        out: Tensor = x + self.drop_path(self.irffn(_as_map(self.norm2(_as_tokens(x)))))
        return out


def _as_tokens(x: Tensor) -> Tensor:
    return x.permute(0, 2, 3, 1)


def _as_map(x: Tensor) -> Tensor:
    return x.permute(0, 3, 1, 2)
