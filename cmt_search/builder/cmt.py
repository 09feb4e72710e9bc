"""timm's entry points: the published sizes, and `cmt` for any Arch."""

from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.layers import to_2tuple
from timm.models import (
    PretrainedCfg,
    build_model_with_cfg,
    generate_default_cfgs,
    register_model,
)

from cmt_search.arch import Arch
from cmt_search.builder.checkpoint import checkpoint_filter
from cmt_search.builder.network import CMT
from cmt_search.builder.position import stage_grids
from cmt_search.presets import PRESETS

_RELEASES = "https://github.com/ggjy/CMT.pytorch"


def timm_cfg(arch: Arch) -> dict[str, Any]:
    """Return timm's pretrained config for `arch`, without weights.

    Means and standard deviations are ImageNet's, or 0.5 unless images have three channels.
    """
    half = (0.5,) * arch.in_chans
    colour = arch.in_chans == 3
    size = (arch.resolution, arch.resolution)
    return {
        "num_classes": arch.num_classes,
        "input_size": (arch.in_chans, *size),
        "pool_size": stage_grids(arch, input_size=size)[-1].queries,
        "fixed_input_size": True,
        "crop_pct": 0.9,
        "interpolation": "bicubic",
        "mean": IMAGENET_DEFAULT_MEAN if colour else half,
        "std": IMAGENET_DEFAULT_STD if colour else half,
        "first_conv": "stem.0.conv",
        "classifier": "head",
    }


def _released(name: str, *, file: str) -> dict[str, Any]:
    """Return the config of a preset's official weights; the licence is their repository's."""
    return {
        **timm_cfg(PRESETS[name]),
        "url": f"{_RELEASES}/releases/download/release-v1/{file}",
        "crop_pct": 224 / 256,  # as the official evaluation crops
        "license": "mit",
        "paper_ids": "arXiv:2107.06263",
        "origin_url": _RELEASES,
    }


default_cfgs = generate_default_cfgs(
    {
        "cmt_ti.in1k": _released("cmt_ti", file="cmt_tiny.pth"),
        "cmt_xs.in1k": _released("cmt_xs", file="cmt_xs.pth"),
        "cmt_s.in1k": _released("cmt_s", file="cmt_small.pth"),
        "cmt_b.in1k": _released("cmt_b", file="cmt_base.pth"),
    }
)


def cmt_ti(pretrained: bool = False, **kwargs: Any) -> CMT:
    """CMT-Ti, 160 px, 0.64 GMACs."""
    return _create("cmt_ti", PRESETS["cmt_ti"], pretrained, **kwargs)


def cmt_xs(pretrained: bool = False, **kwargs: Any) -> CMT:
    """CMT-XS, 192 px, 1.55 GMACs."""
    return _create("cmt_xs", PRESETS["cmt_xs"], pretrained, **kwargs)


def cmt_s(pretrained: bool = False, **kwargs: Any) -> CMT:
    """CMT-S, 224 px, 4.03 GMACs."""
    return _create("cmt_s", PRESETS["cmt_s"], pretrained, **kwargs)


def cmt_b(pretrained: bool = False, **kwargs: Any) -> CMT:
    """CMT-B, 256 px, 9.32 GMACs."""
    return _create("cmt_b", PRESETS["cmt_b"], pretrained, **kwargs)


def cmt(
    pretrained: bool = False, *, arch: Arch | Mapping[str, Any] | None = None, **kwargs: Any
) -> CMT:
    """The network of `arch`, an Arch or its dict; the architecture of CMT-Ti by default.

    Raises:
        ArchError: `arch` is invalid.
    """
    if arch is None:
        arch = PRESETS["cmt_ti"]
    arch = arch if isinstance(arch, Arch) else Arch.from_dict(arch)
    return _create("cmt", arch, pretrained, **kwargs)


for _entry in (cmt_ti, cmt_xs, cmt_s, cmt_b, cmt):
    register_model(_entry)


def _create(
    name: str,
    arch: Arch,
    pretrained: bool,
    *,
    pretrained_cfg: str | dict[str, Any] | PretrainedCfg | None = None,
    **kwargs: Any,
) -> CMT:
    """Build through timm. Arguments override the config, which overrides `arch`."""
    if isinstance(pretrained_cfg, dict):
        pretrained_cfg = timm_cfg(arch) | pretrained_cfg
    elif pretrained_cfg is None and name not in default_cfgs:
        pretrained_cfg = timm_cfg(arch)
    # The official releases contain their script's arguments as a Namespace, which is plain data.
    with torch.serialization.safe_globals([Namespace]):
        model: CMT = build_model_with_cfg(
            _build_for_timm,
            name,
            pretrained,
            pretrained_cfg=pretrained_cfg,
            pretrained_filter_fn=checkpoint_filter,
            feature_cfg={"feature_cls": "getter", "out_indices": tuple(range(len(arch.stages)))},
            arch=arch,
            **kwargs,
        )
    return model


def _build_for_timm(
    *,
    arch: Arch,
    num_classes: int,
    in_chans: int,
    img_size: int | Sequence[int] | None = None,  # timm omits it if a config has no fixed size
    **kwargs: Any,
) -> CMT:
    height, width = to_2tuple(arch.resolution if img_size is None else img_size)
    resolution = height if height == width else arch.resolution
    arch = replace(arch, num_classes=num_classes, in_chans=in_chans, resolution=resolution)
    return CMT(arch, input_size=(height, width), **kwargs)
