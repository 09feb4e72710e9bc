"""A stage: patch embedding and blocks, which share a grid and, usually, a position table."""

from collections.abc import Sequence
from contextlib import nullcontext
from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from cmt_search.arch import Stage
from cmt_search.builder.blocks import Block, PatchEmbed
from cmt_search.builder.position import StageGrids, new_table, resize_table


class CMTStage(nn.Module):
    """Patch embedding and blocks.

    `position` says who has a table of position biases: the "stage", every "block", or "none".

    Shape: (B, c_in, H, W) in, (B, width, ceil(H / 2), ceil(W / 2)) out.
    """

    def __init__(
        self,
        c_in: int,
        stage: Stage,
        *,
        grids: StageGrids,
        drop_path_rates: Sequence[float],
        position: str,
        pos_std: float,
    ) -> None:
        super().__init__()
        self.grids = grids
        self.grad_checkpointing = False

        def table(owner: str) -> nn.Parameter | None:
            return new_table(stage.heads, grids, std=pos_std) if position == owner else None

        self.position = table("stage")
        self.patch_embed = PatchEmbed(c_in, stage.width)
        self.blocks = nn.ModuleList(
            Block(stage, drop_path=rate, position=table("block")) for rate in drop_path_rates
        )

    def resize(self, grids: StageGrids) -> None:
        """Resize the position tables to other grids; a parameter is a new one where it changes."""
        if grids == self.grids:
            return
        for owner in (self, *self.blocks):
            old = owner.position
            if isinstance(old, nn.Parameter):
                table = resize_table(old.detach(), old=self.grids, new=grids)
                owner.position = nn.Parameter(table, requires_grad=old.requires_grad)
        self.grids = grids

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch_embed(x)
        for block in self.blocks:
            if self.grad_checkpointing and not torch.jit.is_scripting():  # type: ignore
                x = _checkpointed(block, x, self.position)
            else:
                x = block(x, self.position)
        return x


def _checkpointed(block: nn.Module, x: Tensor, position: Tensor | None) -> Tensor:
    """The block's output, of which backward keeps the inputs alone."""
    out: Tensor
    if torch.compiler.is_compiling():  # takes no such context, and repeats no side effect
        out = checkpoint(block, x, position, use_reentrant=False)
    else:
        out = checkpoint(
            block,
            x,
            position,
            use_reentrant=False,
            context_fn=lambda: (nullcontext(), _KeptStatistics(block)),
        )
    return out


class _KeptStatistics:
    """Keeps running statistics: a block that backward runs again must not count its batch twice.

    It may be entered again, as backward through a retained graph does.
    """

    def __init__(self, block: nn.Module) -> None:
        self._norms = [
            m for m in block.modules() if isinstance(m, nn.BatchNorm2d | nn.SyncBatchNorm)
        ]
        self._before: list[tuple[float | None, Tensor | None]] = []

    def __enter__(self) -> None:
        self._before = [(norm.momentum, norm.num_batches_tracked) for norm in self._norms]
        for norm in self._norms:
            norm.momentum, norm.num_batches_tracked = 0.0, deepcopy(norm.num_batches_tracked)

    def __exit__(self, *_: object) -> None:
        for norm, (momentum, batches) in zip(self._norms, self._before, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, batches
