"""Finds the rule by which a vision backbone should grow with compute, and derives the family."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cmt_search.export import load, load_weights, register
    from cmt_search.space import SearchSpace, load_space
    from cmt_search.study import Study, load_study

__version__ = "0.1.0"

_MODULES = {  # imported on first use
    "SearchSpace": "space",
    "Study": "study",
    "load": "export",
    "load_space": "space",
    "load_study": "study",
    "load_weights": "export",
    "register": "export",
}
__all__ = [
    "SearchSpace",
    "Study",
    "__version__",
    "load",
    "load_space",
    "load_study",
    "load_weights",
    "register",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
