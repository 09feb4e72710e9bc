"""YAML -> SearchSpace -> candidates."""

from cmt_search.space.candidates import Candidate, Parameter, Rung
from cmt_search.space.load import confirmation_space, load_space, parse_space
from cmt_search.space.search_space import SearchSpace
from cmt_search.space.trainable import check_trainable

__all__ = [
    "Candidate",
    "Parameter",
    "Rung",
    "SearchSpace",
    "check_trainable",
    "confirmation_space",
    "load_space",
    "parse_space",
]
