"""Build networks from an Arch; importing this package registers the presets and `cmt` with timm."""

from cmt_search.builder.checkpoint import load_checkpoint
from cmt_search.builder.cmt import timm_cfg
from cmt_search.builder.network import CMT

__all__ = ["CMT", "load_checkpoint", "timm_cfg"]
