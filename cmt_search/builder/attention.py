"""Lightweight attention: fewer keys than queries, and a table of position biases."""

import torch
import torch.fx
from timm.layers import register_notrace_function
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import fuse_conv_bn_eval

from cmt_search.builder.layout import as_map, as_tokens, pad_to_multiple

torch.fx.wrap("pad_to_multiple")
torch.fx.wrap("attend")


class ConvNorm(nn.Module):
    """A convolution and the BatchNorm behind it, which folds into it for inference."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.conv = conv
        self.norm: nn.Module = nn.BatchNorm2d(conv.out_channels)

    def reparameterize(self) -> None:
        """Fold the norm into the convolution, for inference."""
        if isinstance(self.norm, nn.BatchNorm2d):
            self.conv = fuse_conv_bn_eval(self.conv.eval(), self.norm.eval())
            self.norm = nn.Identity()


class KeyReduction(ConvNorm):
    """The map that keys and values are taken from: depthwise k x k of stride k, BatchNorm.

    Shape: (B, width, H, W) in, (B, width, ceil(H / k), ceil(W / k)) out.
    """

    def __init__(self, width: int, *, stride: int) -> None:
        super().__init__(nn.Conv2d(width, width, stride, stride, groups=width))
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.norm(self.conv(pad_to_multiple(x, self.stride)))
        return out


class LMHSA(nn.Module):
    """Lightweight multi-head self-attention.

    Shape: tokens (B, H, W, width) in and out; position (heads, H * W, keys), or None.
    Source: CMT, arXiv:2107.06263, equations 2 and 3.
    """

    def __init__(self, width: int, *, heads: int, kv_stride: int, qk_width: int) -> None:
        super().__init__()
        self.heads = heads
        self.reduce = KeyReduction(width, stride=kv_stride) if kv_stride > 1 else None
        self.q = nn.Linear(width, qk_width)
        self.k = nn.Linear(width, qk_width)
        self.v = nn.Linear(width, width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, position: Tensor | None) -> Tensor:
        sources = x
        if self.reduce is not None:
            sources = as_tokens(self.reduce(as_map(x)))
        q = self._split(self.q(x))
        k = self._split(self.k(sources))
        v = self._split(self.v(sources))
        out = attend(q, k, v, position)
        merged: Tensor = self.proj(out.transpose(1, 2).reshape(x.shape))
        return merged

    def _split(self, x: Tensor) -> Tensor:
        batch, height, width, channels = x.shape
        heads = x.reshape(batch, height * width, self.heads, channels // self.heads)
        return heads.transpose(1, 2)


@register_notrace_function  # a symbolic trace has no device to decide by
def attend(q: Tensor, k: Tensor, v: Tensor, position: Tensor | None) -> Tensor:
    """softmax(q k^T / sqrt(d) + position) v.

    Shape: q (B, heads, queries, d), k (B, heads, keys, d), v (B, heads, keys, e); position
    (heads, queries, keys), or None; (B, heads, queries, e) out.
    """
    if position is None:
        return F.scaled_dot_product_attention(q, k, v)
    if not q.is_cpu:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=position.to(q.dtype))
    # With a mask, PyTorch's function is 1.3 to 2 times slower on a CPU than these products in
    # training, and more in inference (benchmarks/attention.py): so few keys leave nothing to save.
    scaled = k * q.shape[-1] ** -0.5  # there are fewer keys than queries, or logits
    logits = torch.matmul(q, scaled.transpose(-2, -1)).add_(position)
    return torch.matmul(logits.softmax(-1), v)
