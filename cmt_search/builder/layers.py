"""Layers of a CMT. Maps are (B, C, H, W) in channels_last, so (B, H, W, C) is a free view."""

from collections import OrderedDict

import torch
import torch.fx
from timm.layers import DropPath, register_notrace_function, use_fused_attn
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import fuse_conv_bn_eval

from cmt_search.arch import Stage
from cmt_search.builder.position import Grid
from cmt_search.errors import ArchError

_LINEAR_PIXELS = 64  # maps up to this size convolve faster as a matrix product on a CPU


def as_tokens(x: Tensor) -> Tensor:
    """View a map as (B, H, W, C)."""
    return x.permute(0, 2, 3, 1)


def as_map(x: Tensor) -> Tensor:
    """View tokens as (B, C, H, W)."""
    return x.permute(0, 3, 1, 2)


def gelu(x: Tensor) -> Tensor:
    """Apply the exact GELU to a map, through its tokens: contiguous memory is faster."""
    return as_map(F.gelu(as_tokens(x)))


@register_notrace_function  # decides by shapes, which a symbolic trace does not know
def pad_to_multiple(x: Tensor, stride: int) -> Tensor:
    """Pad a map with zeros, bottom and right, until `stride` divides its sides.

    Shape: (B, C, H, W) in, (B, C, ceil(H / stride) * stride, ceil(W / stride) * stride) out.
    """
    below, right = -x.shape[-2] % stride, -x.shape[-1] % stride
    if below > 0 or right > 0:
        x = F.pad(x, [0, right, 0, below])
    return x


@register_notrace_function
def as_input(x: Tensor, size: Grid) -> Tensor:
    """Return the images in channels_last.

    Shape: (B, in_chans, *size) in and out.
    Raises: ArchError when the images have another size.
    """
    height, width = x.shape[-2:]
    if (height, width) != size:
        raise ArchError(
            f"an image of {height}x{width} pixels came to a model of {size[0]}x{size[1]}; call "
            f"model.set_input_size(({height}, {width})) before, which resizes position tables"
        )
    return x.contiguous(memory_format=torch.channels_last)


for _name in ("pad_to_multiple", "attend", "residual_depthwise", "depthwise", "conv_patches"):
    torch.fx.wrap(_name)


class PatchConv2d(nn.Conv2d):
    """A convolution whose stride is its kernel's side: 1x1, or non-overlapping patches.

    Shape: (B, c_in, H, W) in, (B, c_out, H / side, W / side) out; `side` divides H and W.
    """

    def __init__(self, c_in: int, c_out: int, *, side: int = 1) -> None:
        super().__init__(c_in, c_out, side, side)

    def forward(self, x: Tensor) -> Tensor:
        assert self.bias is not None
        out: Tensor = conv_patches(x, self.weight, self.bias)
        return out


@register_notrace_function  # decides by shapes
def conv_patches(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Convolve patches that do not overlap; small maps on a CPU as one matrix product.

    Shape: (B, c_in, H, W) in, (B, c_out, H / side, W / side) out; weight (c_out, c_in, side, side).
    """
    side = weight.shape[-1]
    rows, columns = x.shape[-2] // side, x.shape[-1] // side
    if rows * columns > _LINEAR_PIXELS or not x.is_cpu or torch.compiler.is_exporting():
        return F.conv2d(x, weight, bias, side)
    patches = as_tokens(x)
    if side > 1:
        patches = patches.unflatten(2, (columns, side)).unflatten(1, (rows, side))
        patches = patches.transpose(2, 3).flatten(3)
    return as_map(F.linear(patches, weight.permute(0, 2, 3, 1).flatten(1), bias))


class ConvNorm(nn.Module):
    """A convolution and the BatchNorm behind it, which folds into it for inference."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.conv = conv
        self.norm: nn.Module = nn.BatchNorm2d(conv.out_channels)

    def reparameterize(self) -> None:
        """Fold the norm into the convolution for inference."""
        if isinstance(self.norm, nn.BatchNorm2d):
            self.conv = fuse_conv_bn_eval(self.conv.eval(), self.norm.eval())
            self.norm = nn.Identity()


class KeyReduction(ConvNorm):
    """Reduce the map of keys and values: depthwise k x k of stride k, BatchNorm.

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
        self.fused_attn = use_fused_attn()
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
        out = attend(q, k, v, position, fused=self.fused_attn)
        merged: Tensor = self.proj(out.transpose(1, 2).reshape(x.shape))
        return merged

    def _split(self, x: Tensor) -> Tensor:
        batch, height, width, channels = x.shape
        heads = x.reshape(batch, height * width, self.heads, channels // self.heads)
        return heads.transpose(1, 2)


@register_notrace_function  # a symbolic trace has no device to decide by
def attend(
    q: Tensor, k: Tensor, v: Tensor, position: Tensor | None, *, fused: bool = True
) -> Tensor:
    """Compute softmax(q k^T / sqrt(d) + position) v; with PyTorch's function if `fused` and faster.

    Shape: q (B, heads, queries, d), k (B, heads, keys, d), v (B, heads, keys, e); position
    (heads, queries, keys), or None; (B, heads, queries, e) out.
    """
    if fused and (position is None or not q.is_cpu):
        mask = None if position is None else position.to(q.dtype)
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    # With a mask, PyTorch's function is 1.3 to 2 times slower on a CPU than these products in
    # training, and more in inference (benchmarks/attention.py): there are few keys.
    scaled = k * q.shape[-1] ** -0.5  # keys are fewer than queries, and than logits
    logits = torch.matmul(q, scaled.transpose(-2, -1))
    if position is not None:
        logits = logits.add_(position)
    return torch.matmul(logits.softmax(-1), v)


class ConvGeluNorm(nn.Module):
    """Convolution with bias, GELU, BatchNorm, in that order.

    Shape: (B, c_in, H, W) in, (B, c_out, ceil(H / stride), ceil(W / stride)) out.
    Source: CMT's official code: stem, and first layer of the IRFFN.
    """

    def __init__(self, c_in: int, c_out: int, *, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = (
            PatchConv2d(c_in, c_out)
            if kernel == 1
            else nn.Conv2d(c_in, c_out, kernel, stride, padding=kernel // 2)
        )
        self.norm = nn.BatchNorm2d(c_out)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.norm(gelu(self.conv(x)))
        return out


class PatchEmbed(nn.Module):
    """Halve a map: 2x2 convolution of stride 2, then LayerNorm over channels.

    Shape: (B, c_in, H, W) in, (B, width, ceil(H / 2), ceil(W / 2)) out.
    Source: CMT, arXiv:2107.06263, section 3.1.
    """

    def __init__(self, c_in: int, width: int) -> None:
        super().__init__()
        self.proj = PatchConv2d(c_in, width, side=2)
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        x = self.proj(pad_to_multiple(x, 2))
        return as_map(self.norm(as_tokens(x)))


class ResidualDepthwise(nn.Conv2d):
    """`x + dwconv3x3(x)` in one convolution: the residual is a one in the middle of the kernel.

    Shape: (B, width, H, W) in and out.
    Source: CMT, arXiv:2107.06263, equation 1: the local perception unit (LPU) of a block.
    """

    residual: bool

    def __init__(self, width: int) -> None:
        super().__init__(width, width, 3, padding=1, groups=width)
        self.residual = True

    def reparameterize(self) -> None:
        """Add the residual to the weight for inference."""
        with torch.no_grad():
            self.weight[:, :, 1, 1] += float(self.residual)
        self.residual = False

    def forward(self, x: Tensor) -> Tensor:
        assert self.bias is not None
        convolve = residual_depthwise if self.residual else depthwise
        out: Tensor = convolve(x, self.weight, self.bias)
        return out


@register_notrace_function  # decides by autocast, which a symbolic trace does not know
def residual_depthwise(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Return `x + dwconv3x3(x)`.

    Shape: (B, C, H, W) in and out; weight (C, 1, 3, 3), bias (C,).
    """
    if _is_reduced(weight):  # 1 + w in 16 bits would round small weights away
        return x + F.conv2d(x, weight, bias, padding=1, groups=weight.shape[0])
    identity = F.pad(torch.ones_like(weight[:1, :, :1, :1]), [1, 1, 1, 1])
    out: Tensor = depthwise(x, weight + identity, bias)
    return out


@register_notrace_function  # decides by shapes
def depthwise(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Convolve every channel with its own 3x3 kernel, zero-padded.

    On maps of at most two rows, oneDNN computes the gradient of the weight with one matrix product
    per channel. Training on a CPU avoids that: the images are stacked into one tall map, separated
    by rows of zeros; a single pixel is only scaled and shifted.

    Shape: (B, C, H, W) in and out; weight (C, 1, 3, 3), bias (C,).
    """
    channels, (height, width) = weight.shape[0], x.shape[-2:]
    fast = x.is_cpu and torch.is_grad_enabled() and not torch.compiler.is_exporting()
    if height > 2 or not fast or _is_reduced(weight):
        return F.conv2d(x, weight, bias, padding=1, groups=channels)
    if height == width == 1:
        return x * weight[:, :, 1:2, 1].view(1, -1, 1, 1) + bias.view(1, -1, 1, 1)
    rows = F.pad(as_tokens(x), [0, 0, 0, 0, 0, 1]).flatten(0, 1)
    tall = F.conv2d(as_map(rows[None]), weight, bias, padding=1, groups=channels)
    return as_map(as_tokens(tall)[0].unflatten(0, (-1, height + 1))[:, :height].contiguous())


class IRFFN(nn.Module):
    """Inverted residual feed-forward network: widen, mix neighbours, narrow.

    Shape: (B, width, H, W) in and out.
    Source: CMT, arXiv:2107.06263, equation 4; the inner residual sits before the GELU.
    """

    def __init__(self, width: int, *, hidden: int) -> None:
        super().__init__()
        self.expand = ConvGeluNorm(width, hidden, kernel=1)
        self.local = ResidualDepthwise(hidden)
        self.local_norm: nn.Module = nn.BatchNorm2d(hidden)
        self.project: nn.Conv2d = PatchConv2d(hidden, width)
        self.project_norm: nn.Module = nn.BatchNorm2d(width)

    def reparameterize(self) -> None:
        """Fold the norms before and after the projection into it, for inference."""
        before, after = self.local_norm, self.project_norm
        if not isinstance(before, nn.BatchNorm2d) or not isinstance(after, nn.BatchNorm2d):
            return
        scale, shift = _scale_and_shift(before)
        weight, bias = self.project.weight, self.project.bias
        assert bias is not None
        with torch.no_grad():
            bias.add_((weight * shift[:, None, None]).sum((1, 2, 3)))
            weight.mul_(scale[:, None, None])
        self.project = fuse_conv_bn_eval(self.project.eval(), after.eval())
        self.local_norm = self.project_norm = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        x = self.expand(x)
        x = self.local_norm(gelu(self.local(x)))
        out: Tensor = self.project_norm(self.project(x))
        return out


class Block(nn.Module):
    """Local perception; attention and feed-forward as residual branches, each after a LayerNorm.

    Shape: (B, width, H, W) in and out; the stage's position table (heads, H * W, keys), or None if
    the block has its own, or there is none.
    Source: CMT, arXiv:2107.06263, section 3.2.
    """

    def __init__(self, stage: Stage, *, drop_path: float, position: nn.Parameter | None) -> None:
        super().__init__()
        self.position = position
        self.lpu = nn.Sequential(OrderedDict(conv=ResidualDepthwise(stage.width)))
        self.norm1 = nn.LayerNorm(stage.width, eps=1e-6)
        self.attn = LMHSA(
            stage.width, heads=stage.heads, kv_stride=stage.kv_stride, qk_width=stage.qk_width
        )
        self.norm2 = nn.LayerNorm(stage.width, eps=1e-6)
        self.irffn = IRFFN(stage.width, hidden=stage.hidden)
        self.drop_path = DropPath(drop_path)

    def scale_branches(self, scale: float) -> None:
        """Scale both residual branches by scaling their last weights."""
        assert isinstance(self.irffn.project_norm, nn.BatchNorm2d)
        with torch.no_grad():
            self.attn.proj.weight.mul_(scale)
            self.irffn.project_norm.weight.mul_(scale)

    def forward(self, x: Tensor, shared: Tensor | None) -> Tensor:
        position = shared if self.position is None else self.position
        x = self.lpu(x)
        x = x + self.drop_path(as_map(self.attn(self.norm1(as_tokens(x)), position)))
        out: Tensor = x + self.drop_path(self.irffn(as_map(self.norm2(as_tokens(x)))))
        return out


class Neck(ConvNorm):
    """The last layer before pooling: 1x1 convolution, BatchNorm, SiLU.

    Shape: (B, c_in, H, W) in, (B, width, H, W) out.
    """

    def __init__(self, c_in: int, width: int) -> None:
        super().__init__(PatchConv2d(c_in, width))

    def forward(self, x: Tensor) -> Tensor:
        return F.silu(self.norm(self.conv(x)))


def _scale_and_shift(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Return the scale and shift of a BatchNorm in evaluation. Shape: (channels,) each."""
    mean, variance = norm.running_mean, norm.running_var
    assert mean is not None
    assert variance is not None
    scale = norm.weight.detach() * torch.rsqrt(variance + norm.eps)
    return scale, norm.bias.detach() - mean * scale


def _is_reduced(weight: Tensor) -> bool:
    """Whether a convolution with this weight computes in 16 bits."""
    device = weight.device.type
    autocast = torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
    return autocast or weight.dtype in (torch.half, torch.bfloat16)
