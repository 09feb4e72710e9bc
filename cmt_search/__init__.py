"""Finds the rule by which a vision backbone should grow with compute, and derives the family."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cmt_search.export import load

__all__ = ["load"]


def __getattr__(name: str) -> Any:
    """`load`, imported when it is asked for: the lower layers import this package first."""
    if name == "load":
        from cmt_search.export import load

        return load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
