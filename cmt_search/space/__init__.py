"""YAML -> SearchSpace -> candidates."""

from cmt_search.space.candidates import Candidate, Parameter, Rung
from cmt_search.space.load import confirmation_space, load_space, parse_space
from cmt_search.space.search_space import SearchSpace

__all__ = [
    "Candidate",
    "Parameter",
    "Rung",
    "SearchSpace",
    "confirmation_space",
    "load_space",
    "parse_space",
]
