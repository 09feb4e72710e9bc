"""Published sizes of CMT, and small bases for proxy searches, as one table.

Source of cmt_ti to cmt_b: CMT, arXiv:2107.06263, table 1, and the official code, which differs from
the table in cmt_xs (IRFFN ratio 3.77, printed 3.8) and cmt_s (26.26M parameters, printed 25.14M).
Source of cmt_micro, cmt_nano and cmt_pico: this project. Their stems do not stride and their keys
are strided less, so that small images still give every attention something to attend to.
"""

from collections.abc import Mapping
from functools import partial
from types import MappingProxyType

from cmt_search.arch import Arch, Stage


def _cmt(
    resolution: int,
    *,
    stem: int,
    width: int,
    depths: tuple[int, ...],
    ratio: float = 4.0,
    kv_strides: tuple[int, ...] = (8, 4, 2, 1),
    stem_stride: int = 2,
    neck: int = 1280,
    classes: int = 1000,
) -> Arch:
    """A CMT whose stages double in width and in heads."""
    rows = enumerate(zip(depths, kv_strides, strict=True))
    stages = tuple(
        Stage(depth=depth, width=width * 2**i, heads=2**i, kv_stride=kv_stride, mlp_ratio=ratio)
        for i, (depth, kv_stride) in rows
    )
    return Arch(
        resolution=resolution,
        stem_width=stem,
        stages=stages,
        stem_stride=stem_stride,
        neck_width=neck,
        num_classes=classes,
    )


_proxy = partial(_cmt, kv_strides=(4, 2, 1, 1), stem_stride=1, classes=10)

PRESETS: Mapping[str, Arch] = MappingProxyType(
    {
        "cmt_ti": _cmt(160, stem=16, width=46, depths=(2, 2, 10, 2), ratio=3.6),
        "cmt_xs": _cmt(192, stem=16, width=52, depths=(3, 3, 12, 3), ratio=3.77),
        "cmt_s": _cmt(224, stem=32, width=64, depths=(3, 3, 16, 3)),
        "cmt_b": _cmt(256, stem=38, width=76, depths=(4, 4, 20, 4)),
        "cmt_micro": _proxy(32, stem=8, width=16, depths=(2, 2, 6, 2), neck=256),
        "cmt_nano": _proxy(32, stem=6, width=12, depths=(1, 1, 3, 1), neck=192),
        "cmt_pico": _proxy(14, stem=4, width=8, depths=(1, 1, 3, 1), neck=64),
    }
)

PUBLISHED = ("cmt_ti", "cmt_xs", "cmt_s", "cmt_b")  # of these, the paper's own
