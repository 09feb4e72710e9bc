"""The best shape at each budget: the optimum of a quadratic over the plane of equal MACs."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import ConvexHull

from cmt_search.errors import AnalysisError
from cmt_search.laws.contributions import PLANE
from cmt_search.laws.least_squares import LinearFit

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

SHAPES_NEEDED = 7  # six terms of a quadratic in two dimensions, and one to spare
_RIM_STEPS = 32  # along each side of the measured range


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BudgetShapes:
    """The networks of one budget, by where they lie in the plane of equal MACs."""

    rows: Bools  # (T,) which trainings these are
    quadratic: LinearFit
    sides: Floats  # (h, 3) of the measured range: a point is inside where all are negative
    rim: Floats  # (k, 2) points all around it
    growth: float  # mean ln(MACs / base MACs)

    @classmethod
    def of(
        cls, rows: Bools, *, parts: Floats, network: Sequence[Hashable], budget: float
    ) -> "BudgetShapes":
        """Those of the trainings in `rows`; `parts` (T, 3) are contributions.

        Raises:
            AnalysisError: too few shapes, or shapes along a line.
        """
        own = [one for one, here in zip(network, rows, strict=True) if here]
        held = len(set(own))
        points = parts[rows] @ PLANE
        flat = np.linalg.matrix_rank(points - points.mean(axis=0), tol=1e-6) < 2
        if held < SHAPES_NEEDED or flat:
            raise AnalysisError(
                f"the optimum at {budget:.4g} MACs needs {SHAPES_NEEDED} networks of different "
                f"shapes, not along one line, and the study holds {held}; run more trials there"
            )
        hull = ConvexHull(points)
        corners = points[hull.vertices]
        steps = np.linspace(0, 1, _RIM_STEPS, endpoint=False)[:, None, None]
        rim = corners + steps * (np.roll(corners, -1, axis=0) - corners)
        return cls(
            rows=rows,
            quadratic=LinearFit.of(_terms(points), network=own),
            sides=hull.equations,
            rim=rim.reshape(-1, 2),
            growth=float(parts[rows].sum(axis=1).mean()),
        )

    def optimum(self, *, weights: Floats, error: Floats) -> tuple[Floats, Bools]:
        """Contributions with the least error in the measured range, and whether at its edge.

        A quadratic without a minimum inside has its least value on the rim.
        Shape: weights and error (S, T); results (S, 3) and (S,).
        """
        beta = self.quadratic(weights[:, self.rows], error[:, self.rows])
        gradient, (aa, bb, ab) = beta[:, 1:3], beta[:, 3:].T
        determinant = 4 * aa * bb - ab**2
        bowl = (aa > 0) & (determinant > 0)
        inverse = np.array([[2 * bb, -ab], [-ab, 2 * aa]]) / np.where(bowl, determinant, 1.0)
        inside = -np.einsum("ijs,sj->si", inverse, gradient)
        within = (inside @ self.sides[:, :2].T + self.sides[:, 2] < 0).all(axis=1) & bowl
        at_rim = self.rim[(beta @ _terms(self.rim).T).argmin(axis=1)]
        point = np.where(within[:, None], inside, at_rim)
        return point @ PLANE.T + self.growth / 3, ~within


def _terms(points: Floats) -> Floats:
    """Columns of the quadratic. Shape: (n, 2) to (n, 6)."""
    a, b = points.T
    return np.stack([np.ones_like(a), a, b, a * a, b * b, a * b], axis=1)


def slopes(optima: Floats, *, growth: Floats, weights: Floats) -> Floats:
    """Weighted slope of the optima against growth in ln MACs; sums to one, so these are shares.

    c_i = e_i ln x_i: this is the log-log slope of each dimension's optimum, times its exponent.
    Shape: optima (S, B, 3); growth, weights (B,); result (S, 3).
    """
    mean = weights @ growth / weights.sum()
    lever = weights * (growth - mean)
    result: Floats = np.einsum("b,sbi->si", lever, optima) / (lever @ growth)
    return result
