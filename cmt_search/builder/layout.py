"""How maps lie in memory: (B, C, H, W) in channels_last, so that (B, H, W, C) is a free view."""

import torch
from timm.layers import register_notrace_function
from torch import Tensor
from torch.nn import functional as F

from cmt_search.builder.position import Grid
from cmt_search.errors import ArchError


def as_tokens(x: Tensor) -> Tensor:
    """The same memory as (B, H, W, C)."""
    return x.permute(0, 2, 3, 1)


def as_map(x: Tensor) -> Tensor:
    """The same memory as (B, C, H, W)."""
    return x.permute(0, 3, 1, 2)


def gelu(x: Tensor) -> Tensor:
    """Exact GELU of a map, by way of its tokens: kernels for contiguous memory are faster."""
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
    """The images in channels_last.

    Shape: (B, in_chans, *size) in and out.
    Raises: ArchError when the images have another size.
    """
    if torch.jit.is_scripting():  # type: ignore[attr-defined]
        assert x.shape[-2] == size[0], "the image has another height than the model"
        assert x.shape[-1] == size[1], "the image has another width than the model"
    else:
        height, width = x.shape[-2:]
        if (height, width) != size:
            raise ArchError(
                f"an image of {height}x{width} pixels came to a model of {size[0]}x{size[1]}; call "
                f"model.set_input_size(({height}, {width})) before, which resizes position tables"
            )
    return x.contiguous(memory_format=torch.channels_last)
