"""Arch -> torch module."""

from collections.abc import Sequence
from contextlib import nullcontext
from copy import deepcopy
from dataclasses import replace
from typing import Any

import torch
import torch.fx
from timm.models._features import feature_take_indices
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from cmt_search.arch import Arch, Stage
from cmt_search.builder.layers import Block, ConvGeluNorm, Neck, PatchEmbed, as_input
from cmt_search.builder.position import Grid, StageGrids, new_table, resize_table, stage_grids
from cmt_search.errors import ArchError


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
            if self.grad_checkpointing:
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


torch.fx.wrap("as_input")  # looks at shapes, which a symbolic trace does not know


def build(
    arch: Arch,
    *,
    input_size: Grid | None = None,
    drop_rate: float = 0.0,
    drop_path_rate: float = 0.0,
    pos_std: float = 1.0,
    residual_scale: float = 1.0,
    decay_position: bool = False,
) -> "CMT":
    """The network that `arch` describes, freshly initialised from torch's global generator.

    Shape: images (B, in_chans, *input_size) in, logits (B, num_classes) out; `input_size` is
    (height, width), by default a square of `arch.resolution`.
    Source: CMT, arXiv:2107.06263, which draws its position tables from N(0, pos_std = 1).
    A `residual_scale` of 0 starts every block as little more than its LPU, so that deep networks
    learn from the first steps on (arXiv:1706.02677, section 5.1).
    """
    return CMT(
        arch,
        input_size=input_size,
        drop_rate=drop_rate,
        drop_path_rate=drop_path_rate,
        pos_std=pos_std,
        residual_scale=residual_scale,
        decay_position=decay_position,
    )


class CMT(nn.Module):
    """A CMT with timm's interface. Its input size is fixed until `set_input_size` changes it.

    Shape: images (B, in_chans, *input_size) in; logits (B, num_classes) out, or pooled features
    (B, neck_width) where num_classes is 0, or their map where global_pool is "" as well.
    Source: CMT, arXiv:2107.06263, and its official code.
    Raises: ArchError when an image has another size, or a head cannot exist.
    """

    num_classes: int
    global_pool: str

    def __init__(
        self,
        arch: Arch,
        *,
        input_size: Grid | None = None,
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        pos_std: float = 1.0,
        residual_scale: float = 1.0,
        decay_position: bool = False,
        global_pool: str = "avg",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.arch = arch
        self.input_size = input_size or (arch.resolution, arch.resolution)
        self.in_chans = arch.in_chans
        self.num_features = arch.stages[-1].width
        self.head_hidden_size = arch.neck_width
        self.feature_info = _feature_info(arch)
        self.decay_position = decay_position
        self.default_cfg: dict[str, Any] = {}  # timm fills both in
        self.pretrained_cfg: dict[str, Any] = {}
        with nullcontext() if device is None else torch.device(device):
            self.stem = _stem(arch)
            self.stages = _stages(
                arch, input_size=self.input_size, drop_path_rate=drop_path_rate, pos_std=pos_std
            )
            self.neck: nn.Module = Neck(self.num_features, arch.neck_width)
            self.head_drop = nn.Dropout(drop_rate)
            self.head: nn.Module = nn.Identity()
            self.apply(_init)
            for module in self.modules():
                if isinstance(module, Block):
                    module.scale_branches(residual_scale)
            self.reset_classifier(arch.num_classes, global_pool)
        self.to(dtype=dtype)

    @property
    def _model_args(self) -> dict[str, Any]:
        """The arguments of timm's create_model, as its exports write them: an Arch as a dict."""
        args: dict[str, Any] = self.__dict__.get("_model_args", {})
        return args | {"arch": self.arch.to_dict()} if "arch" in args else args

    @_model_args.setter
    def _model_args(self, args: dict[str, Any]) -> None:
        self.__dict__["_model_args"] = args

    def set_input_size(self, img_size: int | Grid) -> None:
        """Accept images of another size from now on: resize every position table bicubically.

        Tables that change are new parameters, so make the optimiser afterwards. `arch.resolution`
        follows squares only; `input_size` is what holds.
        """
        size = (img_size, img_size) if isinstance(img_size, int) else (img_size[0], img_size[1])
        grids = stage_grids(self.arch, input_size=size)
        for stage, its_grids in zip(self.stages, grids, strict=True):
            assert isinstance(stage, CMTStage)
            stage.resize(its_grids)
        self.input_size = size
        self._traits = {**getattr(self, "_traits", {}), "img_size": size}  # what timm exports
        if size[0] == size[1]:
            self.arch = replace(self.arch, resolution=size[0])

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Trade compute for memory: blocks keep their input alone, and run again in backward."""
        for stage in self.stages:
            assert isinstance(stage, CMTStage)
            stage.grad_checkpointing = enable

    def no_weight_decay(self) -> set[str]:
        """Parameters that an optimiser should not decay, beside those with one dimension."""
        if self.decay_position:
            return set()
        return {name for name, _ in self.named_parameters() if name.endswith("position")}

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Patterns by which timm numbers layers, for layer-wise learning-rate decay."""
        fine = [
            (r"^stages\.(\d+)\.(?:patch_embed|position)", (0,)),
            (r"^stages\.(\d+)\.blocks\.(\d+)", None),
            (r"^neck", (99999,)),  # timm's mark of what belongs to the layer before
        ]
        return {"stem": r"^stem", "blocks": r"^stages\.(\d+)" if coarse else fine}

    def get_classifier(self) -> nn.Module:
        """The last linear layer, or an identity where num_classes is 0."""
        return self.head

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Put a fresh classifier in place; 0 classes leave the pooled features."""
        pool = self.global_pool if global_pool is None else global_pool
        if pool not in ("avg", ""):
            raise ArchError(f"global_pool={pool!r} is unknown; use 'avg', or '' with num_classes=0")
        if not pool and num_classes:
            raise ArchError(
                f"num_classes={num_classes} with global_pool='' has nothing pooled to classify; "
                "use global_pool='avg' or num_classes=0"
            )
        self.arch = replace(self.arch, num_classes=num_classes)
        self.num_classes, self.global_pool = num_classes, pool
        like = next(self.parameters())
        self.head = nn.Identity()
        if num_classes:
            width = self.head_hidden_size
            self.head = nn.Linear(width, num_classes, device=like.device, dtype=like.dtype)
        self.head.apply(_init).train(self.training)

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | list[int] | None = None,
        norm: bool = False,  # noqa: ARG002 - timm asks for it; there is no last norm
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> Any:
        """Stage outputs, with timm's signature; no stage output has a norm of its own.

        Shape: images (B, in_chans, *input_size) in; (last map, list of maps) out, one map
        (B, width, h, w) per index, in "NLC" as tokens (B, h * w, width), or only that list.
        Raises: ArchError when `output_fmt` is neither.
        """
        if output_fmt not in ("NCHW", "NLC"):
            raise ArchError(f"output_fmt={output_fmt!r} is not offered; use 'NCHW' or 'NLC'")
        take, last = feature_take_indices(len(self.stages), indices)
        stages = self.stages[: last + 1] if stop_early else self.stages
        x = self.stem(as_input(x, self.input_size))
        maps = []
        for stage in stages:
            x = stage(x)
            maps.append(x.flatten(2).transpose(1, 2) if output_fmt == "NLC" else x)
        taken = [maps[i] for i in take]
        return taken if intermediates_only else (x, taken)

    def prune_intermediate_layers(
        self,
        indices: int | list[int] = 1,
        prune_norm: bool = False,  # noqa: ARG002 - timm asks for it; there is no last norm
        prune_head: bool = True,
    ) -> list[int]:
        """Drop the stages after the last of `indices`, and the neck and head; returns the indices.

        What is left gives the last stage's map, since pooling goes with the head. `arch` keeps its
        neck_width, which describes no part of the model any more.
        """
        take, last = feature_take_indices(len(self.stages), indices)
        shorter = last + 1 < len(self.stages)
        if shorter:
            self.stages = self.stages[: last + 1]
            self.arch = replace(self.arch, stages=self.arch.stages[: last + 1])
            self.num_features = self.arch.stages[-1].width
        if shorter or prune_head:  # the neck takes the features of the last stage alone
            self.neck = nn.Identity()
            self.head_hidden_size = self.num_features
            self.reset_classifier(0, "")
        return list(take)

    def forward_features(self, x: Tensor) -> Tensor:
        """The last stage's map.

        Shape: images (B, in_chans, *input_size) in, (B, num_features, h, w) out.
        """
        x = self.stem(as_input(x, self.input_size))
        for stage in self.stages:
            x = stage(x)
        return x

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Neck, pooling, dropout and, unless `pre_logits`, the classifier.

        Shape: (B, num_features, h, w) in; (B, num_classes), or (B, neck_width), out.
        """
        x = self.neck(x)
        if self.global_pool != "":
            x = x.mean((2, 3))
        x = self.head_drop(x)
        return x if pre_logits else self.head(x)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of images whose size is `input_size`."""
        return self.forward_head(self.forward_features(x))


def _stem(arch: Arch) -> nn.Sequential:
    width, stride = arch.stem_width, arch.stem_stride
    return nn.Sequential(
        ConvGeluNorm(arch.in_chans, width, kernel=3, stride=stride),
        ConvGeluNorm(width, width, kernel=3),
        ConvGeluNorm(width, width, kernel=3),
    )


def _stages(
    arch: Arch, *, input_size: Grid, drop_path_rate: float, pos_std: float
) -> nn.ModuleList:
    widths = (arch.stem_width, *(stage.width for stage in arch.stages[:-1]))
    # Python numbers, so that a network also builds on the meta device.
    rates = iter([drop_path_rate * i / max(arch.depth - 1, 1) for i in range(arch.depth)])
    rows = zip(widths, arch.stages, stage_grids(arch, input_size=input_size), strict=True)
    return nn.ModuleList(
        CMTStage(
            c_in,
            stage,
            grids=grids,
            drop_path_rates=[next(rates) for _ in range(stage.depth)],
            position=arch.position,
            pos_std=pos_std,
        )
        for c_in, stage, grids in rows
    )


def _feature_info(arch: Arch) -> list[dict[str, Any]]:
    """What timm's `features_only` tells about each stage."""
    return [
        {
            "num_chs": stage.width,
            "reduction": arch.stem_stride * 2 ** (i + 1),
            "module": f"stages.{i}",
        }
        for i, stage in enumerate(arch.stages)
    ]


def _init(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
    elif isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out")
    if isinstance(module, nn.Linear | nn.Conv2d):
        assert module.bias is not None
        nn.init.zeros_(module.bias)
