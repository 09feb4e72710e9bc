"""How a proxy is trained: plain values that a space file holds."""

import math
from dataclasses import dataclass

from cmt_search.errors import SpaceError


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How a proxy is trained: AdamW, linear warm-up, then a cosine to zero, step by step.

    Raises:
        SpaceError: a value is impossible; the message names its key in the space file.
    """

    batch: int = 64  # images per step
    lr: float = 4e-3  # at the end of the warm-up
    weight_decay: float = 0.05  # not on biases, norms and, unless decay_position, tables
    warmup_fraction: float = 0.15  # of all steps
    label_smoothing: float = 0.0  # in training only
    flip: bool = True  # mirror half of the training images
    crop_padding: float = 0.07  # of the side, rounded to pixels: the largest shift
    drop_path: float = 0.0  # rate at the last block
    clip_grad: float | None = None  # largest gradient norm
    pos_std: float = 0.02  # of the position tables at the start
    decay_position: bool = False  # whether weight decay acts on position tables; CMT's own does
    residual_scale: float = 0.0  # of the residual branches at the start; 1 is the paper's

    def __post_init__(self) -> None:
        _require("batch", self.batch, self.batch >= 2, "at least 2: BatchNorm needs two")
        _require("lr", self.lr, 0 < self.lr < math.inf, "about 0.004")
        _require("weight_decay", self.weight_decay, 0 <= self.weight_decay < math.inf, "about 0.05")
        _require("crop_padding", self.crop_padding, 0 <= self.crop_padding <= 0.5, "0 to 0.5")
        _require("pos_std", self.pos_std, 0 <= self.pos_std < math.inf, "about 0.02")
        scale = self.residual_scale
        _require("residual_scale", scale, 0 <= scale < math.inf, "0, or 1 as in the paper")
        for name in ("warmup_fraction", "label_smoothing", "drop_path"):
            value = getattr(self, name)
            _require(name, value, 0 <= value < 1, "0 to below 1")
        if self.clip_grad is not None:
            _require("clip_grad", self.clip_grad, self.clip_grad > 0, "about 1, or null for none")

    def lr_at(self, step: int, *, steps: int) -> float:
        """Learning rate of a step, 0 the first of `steps`."""
        warmup = math.ceil(self.warmup_fraction * steps)
        if step < warmup:
            return self.lr * (step + 1) / (warmup + 1)
        return self.lr * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(steps - warmup, 1)))


def _require(name: str, value: object, good: bool, use: str) -> None:
    if not good:
        raise SpaceError(f"proxy.recipe.{name}={value!r} is impossible; use {use}")
