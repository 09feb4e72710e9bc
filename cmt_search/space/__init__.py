"""YAML -> SearchSpace -> candidates."""

from cmt_search.format import format_quantity, parse_quantity
from cmt_search.space.candidates import Candidate, Parameter, Rung
from cmt_search.space.load import confirmation_space, load_space, parse_space
from cmt_search.space.search_space import SearchSpace

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
