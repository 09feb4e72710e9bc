"""Finds the rule by which a vision backbone should grow with compute, and derives the family."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cmt_search.export import load, load_study, load_weights, register

__all__ = ["load", "load_study", "load_weights", "register"]


def __getattr__(name: str) -> Any:
    """One of `__all__`, imported when asked for: the lower layers import this package first."""
    if name in __all__:
        from cmt_search import export

        return getattr(export, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
