"""Summary of the equivalence set: the rules that are statistically tied with the best."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmt_search.analysis.study import Analysis
from cmt_search.analysis.verdict import GRID, RuleVerdict, Triangle, subgrid_mask
from cmt_search.errors import AnalysisError
from cmt_search.format import points
from cmt_search.scaling.shares import DIMENSIONS

_STEPS = 10  # along a side, for rules that are solved one by one


def equivalence_set_summary(analysis: Analysis) -> dict[str, Any]:
    """Return the equivalence set as plain values: its part of the triangle and its shares.

    Raises:
        AnalysisError: the study has no verdict.
    """
    verdict, triangle = _require_verdict(analysis)
    rules = triangle.shares[triangle.equivalent]
    spans = zip(DIMENSIONS, rules.min(axis=0).tolist(), rules.max(axis=0).tolist(), strict=True)
    return {
        "tied_fraction": round(verdict.tied_fraction, 4),
        "margin": round(verdict.margin, 5),
        "shares": {name: [round(low, 4), round(high, 4)] for name, low, high in spans},
    }


def equivalence_set_text(analysis: Analysis) -> str:
    """Describe the equivalence set in a sentence.

    Raises:
        AnalysisError: the study has no verdict.
    """
    tied = equivalence_set_summary(analysis)
    spans = ", ".join(f"{n} {low:.2f} to {high:.2f}" for n, (low, high) in tied["shares"].items())
    return (
        f"Statistically tied with the best (margin {points(tied['margin'])} pp): "
        f"{tied['tied_fraction']:.0%} of the triangle ({spans})."
    )


def tied_rules(analysis: Analysis) -> NDArray[np.float64]:
    """Return the best rule, and those of the set on a coarse grid. Shape: (n, 3).

    Raises:
        AnalysisError: the study has no verdict.
    """
    verdict, triangle = _require_verdict(analysis)
    chosen = triangle.equivalent & subgrid_mask(triangle.shares, every=GRID // _STEPS)
    return np.vstack([verdict.best.values, triangle.shares[chosen]])


def _require_verdict(analysis: Analysis) -> tuple[RuleVerdict, Triangle]:
    if analysis.verdict is None or analysis.triangle is None:
        raise AnalysisError(f"the study has no best rule yet. {analysis.no_verdict}")
    return analysis.verdict, analysis.triangle
