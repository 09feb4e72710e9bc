"""Laws of scaling on plain arrays: noise, the response over the triangle, equivalence."""

from cmt_search.laws.balance import Balance, balance
from cmt_search.laws.contrast import (
    DETECTABLE_STANDARD_ERRORS,
    Contrast,
    contrast,
    selected_contrasts,
    typical_error,
)
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
from cmt_search.laws.surface import NEEDED, Surface, fit_surface

__all__ = [
    "CLEAR",
    "DETECTABLE_STANDARD_ERRORS",
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
    "pooled_noise",
    "selected_contrasts",
    "simplex_grid",
    "typical_error",
    "verdict_word",
]
