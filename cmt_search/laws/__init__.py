"""Laws of scaling on plain arrays: noise, the response over the triangle, equivalence."""

from cmt_search.laws.balance import Balance, balance
from cmt_search.laws.contrast import Contrast, contrast, selected_contrast, typical_error
from cmt_search.laws.equivalence import (
    CLEAR,
    EPS,
    Word,
    equivalence_set,
    flatness,
    simplex_grid,
    verdict_word,
)
from cmt_search.laws.noise import Noise, pooled_noise
from cmt_search.laws.surface import NEEDED, Surface, fit_surface, growth

__all__ = [
    "CLEAR",
    "EPS",
    "NEEDED",
    "Balance",
    "Contrast",
    "Noise",
    "Surface",
    "Word",
    "balance",
    "contrast",
    "equivalence_set",
    "fit_surface",
    "flatness",
    "growth",
    "pooled_noise",
    "selected_contrast",
    "simplex_grid",
    "typical_error",
    "verdict_word",
]
