"""YAML -> SearchSpace -> candidates."""

from cmt_search.space.candidate import Candidate, Parameter, Rung
from cmt_search.space.derive import confirmation_space
from cmt_search.space.load import load_space, parse_space
from cmt_search.space.model import SearchSpace
from cmt_search.space.quantity import format_quantity, parse_quantity

__all__ = [
    "Candidate",
    "Parameter",
    "Rung",
    "SearchSpace",
    "confirmation_space",
    "format_quantity",
    "load_space",
    "parse_quantity",
    "parse_space",
]
