"""Arch -> torch module; importing it registers the presets, and `cmt`, with timm."""

from cmt_search.builder.checkpoint import load_checkpoint
from cmt_search.builder.cmt import CMT, build
from cmt_search.builder.registry import timm_cfg

__all__ = ["CMT", "build", "load_checkpoint", "timm_cfg"]
