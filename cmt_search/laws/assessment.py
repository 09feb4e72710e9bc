"""All that a study says of its rules, from joint draws; a simulated study is judged by it too."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cmt_search.laws.contrast import DETECTABLE_STANDARD_ERRORS, typical_error
from cmt_search.laws.equivalence import (
    EPS,
    Word,
    flatness,
    needed_eps,
    verdict_word,
    within_eps,
)

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Assessment:
    """Which rules are the best, and how well that is known."""

    best: int  # of the G rules, the highest posterior mean
    error: float  # standard error of contrasts to the reference, or the best's where larger
    flat: float  # see `flatness`
    needed: Floats  # (G,) eps with which the equivalence set holds each rule
    within: Floats  # (G,) P(regret <= eps)
    eps: float  # a difference that nobody would choose a rule for
    reach: float  # eps of the equivalence set: wider where its coverage demands it

    @property
    def equivalent(self) -> Bools:
        """The equivalence set. Shape: (G,)."""
        result: Bools = self.needed <= self.reach
        return result

    @property
    def extent(self) -> float:
        """Of the rules, those in the equivalence set."""
        return float(self.equivalent.mean())

    @property
    def word(self) -> Word:
        """Tie, unresolved or resolved."""
        return verdict_word(coverage=self.extent, error=self.error, flat=self.flat, eps=self.eps)

    @property
    def detectable(self) -> float:
        """Difference that a study of this error finds with power 80%."""
        return DETECTABLE_STANDARD_ERRORS * self.error


def assess(
    effect: Floats, *, reference: Floats, eps: float = EPS, reach: float | None = None
) -> Assessment:
    """Assess the rules that may be best; `reach` is eps where nothing says otherwise.

    Shape: effect (S, G), joint draws; reference (S, 1), of the rule to compare with.
    """
    best = int(effect.mean(axis=0).argmax())
    contrasts = effect - reference
    return Assessment(
        best=best,
        error=max(typical_error(contrasts), float(contrasts[:, best].std())),
        flat=flatness(effect),
        needed=needed_eps(effect),
        within=within_eps(effect, eps=eps),
        eps=eps,
        reach=eps if reach is None else reach,
    )
