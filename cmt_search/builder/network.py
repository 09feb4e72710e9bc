"""The CMT module, with timm's interface."""

from collections.abc import Sequence
from contextlib import nullcontext
from copy import deepcopy
from dataclasses import replace
from typing import Any

import torch
import torch.fx
from timm.layers import calculate_drop_path_rates, create_classifier, to_2tuple
from timm.models._features import feature_take_indices
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from cmt_search.arch import Arch, Stage
from cmt_search.builder.layers import Block, ConvGeluNorm, Neck, PatchEmbed, as_input
from cmt_search.builder.position import Grid, StageGrids, resize_table, stage_grids
from cmt_search.errors import ArchError

GLOBAL_POOLS = ("", "avg", "max", "avgmax", "catavgmax")  # of timm


class CMTStage(nn.Module):
    """Patch embedding and blocks.

    `position` is the owner of the tables of position biases: the "stage", every "block", or "none".

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

        def new_table(owner: str) -> nn.Parameter | None:
            if owner != position:
                return None
            table = nn.Parameter(torch.empty(stage.heads, *grids.tokens))
            nn.init.normal_(table, std=pos_std)
            return table

        self.position = new_table("stage")
        self.patch_embed = PatchEmbed(c_in, stage.width)
        self.blocks = nn.ModuleList(
            Block(stage, drop_path=rate, position=new_table("block")) for rate in drop_path_rates
        )

    def resize(self, grids: StageGrids) -> None:
        """Resize the position tables to other grids; tables that change are new parameters."""
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
    """Run a block and keep only its inputs for backward, which runs it again."""
    options: dict[str, Any] = {}
    if not torch.compiler.is_compiling():  # a compiled graph has no side effects to repeat
        options["context_fn"] = lambda: (nullcontext(), _FrozenBatchNormStats(block))
    out: Tensor = checkpoint(block, x, position, use_reentrant=False, **options)
    return out


class _FrozenBatchNormStats:
    """Context in which BatchNorms keep their running statistics; reentrant.

    A block that backward runs again must not count its batch twice.
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


torch.fx.wrap("as_input")  # compares shapes, which are unknown to a symbolic trace


class CMT(nn.Module):
    """A CMT with timm's interface, initialised from torch's global generator.

    `input_size` is fixed until `set_input_size` changes it. With `residual_scale=0` both residual
    branches start at 0, so that deep networks learn from the first steps on (arXiv:1706.02677,
    section 5.1).

    Shape: images (B, in_chans, *input_size) in; logits (B, num_classes) out, or pooled features
    (B, head_hidden_size) if num_classes is 0, or their map if global_pool is "" as well.
    `input_size` is (height, width), by default a square of `arch.resolution`.
    Source: CMT, arXiv:2107.06263, whose position tables are drawn from N(0, pos_std = 1), and its
    official code.
    Raises: ArchError when an image has another size, or the head is impossible.
    """

    num_classes: int
    global_pool: Any  # timm's SelectAdaptivePool2d

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
        self.feature_info = [  # for timm's features_only
            {
                "num_chs": stage.width,
                "reduction": arch.stem_stride * 2 ** (i + 1),
                "module": f"stages.{i}",
            }
            for i, stage in enumerate(arch.stages)
        ]
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
            self._neck_channels = arch.neck_width
            self.reset_classifier(arch.num_classes, global_pool)
        self.to(dtype=dtype)

    @property
    def _model_args(self) -> dict[str, Any]:
        """Arguments of timm's create_model as plain values, for its exports."""
        args: dict[str, Any] = self.__dict__.get("_model_args", {})
        return args | {"arch": self.arch.to_dict()} if "arch" in args else args

    @_model_args.setter
    def _model_args(self, args: dict[str, Any]) -> None:
        self.__dict__["_model_args"] = args

    def set_input_size(self, img_size: int | Grid) -> None:
        """Accept images of another size: resize every position table bicubically.

        Tables that change are new parameters: create the optimiser afterwards. `arch.resolution`
        changes only if the size is a square; `input_size` is authoritative.
        """
        height, width = to_2tuple(img_size)
        size = (height, width)
        grids = stage_grids(self.arch, input_size=size)
        for stage, new_grids in zip(self.stages, grids, strict=True):
            assert isinstance(stage, CMTStage)
            stage.resize(new_grids)
        self.input_size = size
        self._traits = {**getattr(self, "_traits", {}), "img_size": size}  # timm exports it
        if size[0] == size[1]:
            self.arch = replace(self.arch, resolution=size[0])

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Trade compute for memory: keep only inputs of blocks, and run these again in backward."""
        for stage in self.stages:
            assert isinstance(stage, CMTStage)
            stage.grad_checkpointing = enable

    def no_weight_decay(self) -> set[str]:
        """Return names of parameters without weight decay, in addition to one-dimensional ones."""
        if self.decay_position:
            return set()
        return {name for name, _ in self.named_parameters() if name.endswith("position")}

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Return the patterns by which timm numbers layers for layer-wise learning-rate decay."""
        fine = [
            (r"^stages\.(\d+)\.(?:patch_embed|position)", (0,)),
            (r"^stages\.(\d+)\.blocks\.(\d+)", None),
            (r"^neck", (99999,)),  # timm's mark: part of the layer before
        ]
        return {"stem": r"^stem", "blocks": r"^stages\.(\d+)" if coarse else fine}

    def get_classifier(self) -> nn.Module:
        """Return the last linear layer, or an identity if num_classes is 0."""
        return self.head

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Replace the classifier by a new one; with 0 classes the model returns pooled features."""
        pool = self.global_pool.pool_type if global_pool is None else global_pool
        if pool not in GLOBAL_POOLS:
            raise ArchError(
                f"global_pool={pool!r} is unknown; use one of {', '.join(map(repr, GLOBAL_POOLS))}"
            )
        if not pool and num_classes:
            raise ArchError(
                f"num_classes={num_classes} with global_pool='' has no pooled features to "
                "classify; use global_pool='avg' or num_classes=0"
            )
        weight = next(self.parameters())
        self.global_pool, self.head = create_classifier(
            self._neck_channels, num_classes, pool, device=weight.device, dtype=weight.dtype
        )
        self.head.apply(_init).train(self.training)
        self.num_classes = num_classes
        self.head_hidden_size = self._neck_channels * self.global_pool.feat_mult()
        self.arch = replace(self.arch, num_classes=num_classes)

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | list[int] | None = None,
        norm: bool = False,  # noqa: ARG002 - part of timm's signature; stages have no last norm
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> Any:
        """Return stage outputs, with timm's signature.

        Shape: images (B, in_chans, *input_size) in; (last map, list of maps) out, one map
        (B, width, h, w) per index, in "NLC" as tokens (B, h * w, width), or only that list.
        Raises: ArchError when `output_fmt` is neither.
        """
        if output_fmt not in ("NCHW", "NLC"):
            raise ArchError(f"output_fmt={output_fmt!r} is not supported; use 'NCHW' or 'NLC'")
        take, last = feature_take_indices(len(self.stages), indices)
        stages = self.stages[: last + 1] if stop_early else self.stages
        x = self.stem(as_input(x, self.input_size))
        maps = []
        for stage in stages:
            x = stage(x)
            maps.append(x.flatten(2).transpose(1, 2) if output_fmt == "NLC" else x)
        intermediates = [maps[i] for i in take]
        return intermediates if intermediates_only else (x, intermediates)

    def prune_intermediate_layers(
        self,
        indices: int | list[int] = 1,
        prune_norm: bool = False,  # noqa: ARG002 - part of timm's signature
        prune_head: bool = True,
    ) -> list[int]:
        """Remove the stages after the last of `indices`, neck and head; return the indices.

        The pruned model returns the last stage's map, since pooling is removed with the head.
        `arch` keeps its neck_width, which no longer describes the model.
        """
        take, last = feature_take_indices(len(self.stages), indices)
        shorter = last + 1 < len(self.stages)
        if shorter:
            self.stages = self.stages[: last + 1]
            self.arch = replace(self.arch, stages=self.arch.stages[: last + 1])
            self.num_features = self.arch.stages[-1].width
        if shorter or prune_head:  # the neck's input is the last stage
            self.neck = nn.Identity()
            self._neck_channels = self.num_features
            self.reset_classifier(0, "")
        return list(take)

    def forward_features(self, x: Tensor) -> Tensor:
        """Return the last stage's map.

        Shape: images (B, in_chans, *input_size) in, (B, num_features, h, w) out.
        """
        x = self.stem(as_input(x, self.input_size))
        for stage in self.stages:
            x = stage(x)
        return x

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Apply neck, pooling, dropout and, unless `pre_logits`, the classifier.

        Shape: (B, num_features, h, w) in; (B, num_classes), or (B, head_hidden_size), out.
        """
        x = self.head_drop(self.global_pool(self.neck(x)))
        return x if pre_logits else self.head(x)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits of images of size `input_size`."""
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
    rates = iter(calculate_drop_path_rates(drop_path_rate, arch.depth))
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


def _init(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
    elif isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out")
    if isinstance(module, nn.Linear | nn.Conv2d):
        assert module.bias is not None
        nn.init.zeros_(module.bias)
