"""Variants as files that timm and training scripts load, and back."""

from cmt_search.export.family import read_family, write_family
from cmt_search.export.files import load, load_variant, write_timm, write_yaml
from cmt_search.export.variant import Variant

__all__ = [
    "Variant",
    "load",
    "load_variant",
    "read_family",
    "write_family",
    "write_timm",
    "write_yaml",
]
