"""The equivalence set: the rules that a study cannot tell from its best, to stand beside it."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmt_search.analysis.study import Analysis
from cmt_search.analysis.verdict import GRID, RuleVerdict, Triangle, coarser
from cmt_search.analysis.wording import points
from cmt_search.errors import AnalysisError
from cmt_search.scaling.shares import DIMENSIONS

_STEPS = 10  # along a side, for rules that are to be solved one by one


def equals_of(analysis: Analysis) -> dict[str, Any]:
    """The equivalence set as plain values: how much of the triangle, and which shares it spans.

    Raises:
        AnalysisError: there is no verdict.
    """
    verdict, triangle = _judged(analysis)
    rules = triangle.shares[triangle.equivalent]
    spans = zip(DIMENSIONS, rules.min(axis=0).tolist(), rules.max(axis=0).tolist(), strict=True)
    return {
        "of_triangle": round(verdict.coverage, 4),
        "eps": round(verdict.reach, 5),
        "shares": {name: [round(low, 4), round(high, 4)] for name, low, high in spans},
    }


def equals_text(analysis: Analysis) -> str:
    """The equivalence set in a sentence, to stand beside a chosen point.

    Raises:
        AnalysisError: there is no verdict.
    """
    equals = equals_of(analysis)
    spans = ", ".join(f"{n} {low:.2f} to {high:.2f}" for n, (low, high) in equals["shares"].items())
    return (
        f"Not told from the best within {points(equals['eps'])} points: "
        f"{equals['of_triangle']:.0%} of the triangle ({spans})."
    )


def equal_rules(analysis: Analysis) -> NDArray[np.float64]:
    """The best rule, and those of the set on a coarse grid. Shape: (n, 3).

    Raises:
        AnalysisError: there is no verdict.
    """
    verdict, triangle = _judged(analysis)
    chosen = triangle.equivalent & coarser(triangle.shares, every=GRID // _STEPS)
    return np.vstack([verdict.best.values, triangle.shares[chosen]])


def _judged(analysis: Analysis) -> tuple[RuleVerdict, Triangle]:
    if analysis.verdict is None or analysis.triangle is None:
        raise AnalysisError(f"there is no best rule yet. {analysis.no_verdict}")
    return analysis.verdict, analysis.triangle
