"""The registered networks, at sizes that tests can afford."""

from functools import cache
from typing import Any

import timm
import torch
from torch import Tensor, nn

import cmt_search.builder  # noqa: F401 - registers them
from cmt_search.arch import Arch, Stage

NAMES = ("cmt_ti", "cmt_xs", "cmt_s", "cmt_b", "cmt")


def _stage(depth: int, width: int, heads: int, kv_stride: int) -> Stage:
    return Stage(depth=depth, width=width, heads=heads, kv_stride=kv_stride, mlp_ratio=2.0)


SMALL = Arch(
    resolution=64,  # leaves 2 x 2 keys in every stage
    stem_width=6,
    stages=(_stage(1, 8, 1, 8), _stage(2, 12, 2, 4), _stage(2, 16, 2, 2), _stage(1, 24, 4, 1)),
    neck_width=20,
    num_classes=7,
)


def create(name: str = "cmt", **options: Any) -> Any:
    """The named network from timm's registry; `cmt` is SMALL. For 64 pixels, unless told else."""
    given = {"arch": SMALL} if name == "cmt" else {}
    return timm.create_model(name, **{"img_size": 64, **given, **options})


@cache
def native(name: str) -> Any:
    """The named network at its own size, on the meta device; tests leave it as it is."""
    return create(name, img_size=None, device="meta").eval()


def images(model: Any, *, count: int = 2) -> Tensor:
    """Images of the model's size, device and precision."""
    like = next(model.parameters())
    shape = (count, model.in_chans, *model.input_size)
    if like.is_meta:
        return torch.empty(shape, device="meta")
    return torch.randn(shape, generator=torch.Generator().manual_seed(1)).to(like.dtype)


def trained(model: Any) -> Any:
    """The model in eval mode, with values as a training leaves them: no bias is 0, no norm is 1."""
    torch.manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.05)
        model.train()(images(model, count=4))
    return model.eval()


def position_tables(model: nn.Module) -> set[str]:
    """The names of the tables, which alone have heads, queries and keys for dimensions."""
    return {name for name, parameter in model.named_parameters() if parameter.ndim == 3}
