"""Power laws of the best shape at several budgets."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import ConvexHull

from cmt_search.errors import AnalysisError
from cmt_search.stats.additive_law import AdditiveLaw, fit_additive
from cmt_search.stats.bootstrap import (
    MOST_FAILED,
    Bootstrap,
    Fit,
    LinearFit,
    Trainings,
    bootstrap,
    inflated,
)
from cmt_search.stats.gradient import PLANE
from cmt_search.stats.noise import Estimate, tail_of_zero

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


BUDGETS_NEEDED = 4
SPAN_NEEDED = 8.0  # largest budget over smallest
DISAGREE = 0.05  # level at which two estimates are held to differ
NEAR = 0.05  # of a share: rounding to whole networks moves it as far, so nobody need care
WIDE = 0.5  # a 95% interval of a share that is wider than this tells no rule from another
_SECANT_LEAST = float(np.log(2))  # below twice the base, shares of the way from it mean little
_LEAST_VARIANCE = 1e-9  # of an optimum; noiseless data have none
_DRAWS = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleEstimate:
    """The shares that one estimator gives."""

    local: Estimate  # slope of the best contributions against ln MACs
    secant: Estimate | None  # from the base to the largest budget's best; None below twice the base


@dataclass(frozen=True, slots=True, kw_only=True)
class Optimum:
    """The best shape at one budget, by the quadratic there."""

    budget: float  # MACs
    growth: float  # mean ln(MACs / base MACs) of its networks
    contributions: Estimate  # to that growth
    at_edge: bool  # of the measured range: the true one may lie beyond
    edge_draws: float  # fraction of resamples in which it does


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PowerLaws:
    """What the best shapes at several budgets say of the rule."""

    word: Literal["identified", "not identified"]
    reasons: tuple[str, ...]  # why it is not; empty when it is
    by_optima: RuleEstimate
    by_law: RuleEstimate
    agreement: float  # resamples' mass at least as far from their centre as agreement is; small: no
    optima: tuple[Optimum, ...]  # by growing budget
    law: AdditiveLaw  # fitted to the data themselves
    failed: int  # resamples without a fit, of `draws`
    draws: int
    images: bool  # whether validation images were redrawn too


def power_laws(
    data: Trainings,
    *,
    contributions: ArrayLike,
    budget: ArrayLike,
    seed: int,
    draws: int = _DRAWS,
) -> PowerLaws:
    """Fit both estimators and their resamples.

    Shape: contributions (T, 3), which sum to ln(MACs / base MACs) (see `contributions`); budget
    (T,), the MACs asked for.

    Raises:
        AnalysisError: too few budgets, too near to each other, too few shapes at one of them, or a
            fit that fails.
    """
    parts, asked = np.asarray(contributions, dtype=float), np.asarray(budget, dtype=float)
    budgets = np.unique(asked)
    _check(budgets)
    shapes = [
        BudgetShapes.of(asked == one, parts=parts, network=data.network, budget=one)
        for one in budgets.tolist()
    ]
    fits = bootstrap(_fit(data, parts=parts, shapes=shapes), data, draws=draws, seed=seed)
    return _judged(fits, budgets=budgets, growth=np.array([one.growth for one in shapes]))


def _judged(fits: Bootstrap, *, budgets: Floats, growth: Floats) -> PowerLaws:
    rows = np.vstack([fits.estimate, fits.kept])
    points, edge, theta = np.split(rows, [3 * len(budgets), 4 * len(budgets)], axis=1)
    points = points.reshape(len(rows), -1, 3)
    law = AdditiveLaw.of(theta)
    precision = 1 / (points[1:].var(axis=0).sum(axis=1) + _LEAST_VARIANCE)
    local = slopes(points, growth=growth, weights=precision)
    largest = float(growth[-1])
    by_optima = _rule(local, best=points[:, -1], growth=largest)
    by_law = _rule(law.shares, best=law.allocation(largest), growth=largest)
    agreement = tail_of_zero((local - law.shares)[:, :2])
    optima = tuple(
        Optimum(
            budget=float(budgets[i]),
            growth=float(growth[i]),
            contributions=Estimate.of(points[:, i]),
            at_edge=bool(edge[0, i]),
            edge_draws=float(edge[1:, i].mean()),
        )
        for i in range(len(budgets))
    )
    reasons = (
        *(text for one in optima for text in _edge(one)),
        *_ended(law.at_end),
        *_vague(by_optima, by_law, agreement=agreement),
    )
    return PowerLaws(
        word="not identified" if reasons else "identified",
        reasons=reasons,
        by_optima=by_optima,
        by_law=by_law,
        agreement=agreement,
        optima=optima,
        law=AdditiveLaw.of(theta[0]),
        failed=fits.failed,
        draws=len(fits.draws),
        images=fits.images,
    )


def _fit(data: Trainings, *, parts: Floats, shapes: list[BudgetShapes]) -> Fit:
    """Per resample: optima (3 B), whether each is at its edge (B), the law's parameters (7)."""
    own = data.error(data.value)
    start = fit_additive(parts, weights=np.ones(len(own)), error=own)
    if not np.isfinite(start).all():
        raise AnalysisError(
            "the parametric law of shape does not converge; measure more shapes, further apart"
        )
    fitted, networks = AdditiveLaw.of(start).error(parts), len(set(data.network))

    def fit(weights: Floats, values: Floats) -> Floats:
        error = data.error(values)
        optima = [one.optimum(weights=weights, error=error) for one in shapes]
        spread = inflated(error, fitted=fitted, networks=networks, terms=len(start))
        laws = [
            fit_additive(parts, weights=w, error=e, start=start)
            for w, e in zip(weights, spread, strict=True)
        ]
        points = [point for point, _ in optima]
        return np.hstack([*points, np.stack([edge for _, edge in optima], axis=1), laws])

    return fit


def _check(budgets: Floats) -> None:
    span = budgets[-1] / budgets[0] if budgets.size else 0.0
    if len(budgets) < BUDGETS_NEEDED or span < SPAN_NEEDED * (1 - 1e-6):
        held = ", ".join(f"{one:.4g}" for one in budgets.tolist()) or "none"
        raise AnalysisError(
            f"a power law needs {BUDGETS_NEEDED} budgets or more that span {SPAN_NEEDED:g}x, and "
            f"the study holds {len(budgets)} that span {span:.3g}x ({held} MACs); measure shapes "
            "at more budgets, further apart"
        )


def _rule(local: Floats, *, best: Floats, growth: float) -> RuleEstimate:
    secant = Estimate.of(best / growth) if growth >= _SECANT_LEAST else None
    return RuleEstimate(local=Estimate.of(local), secant=secant)


def _edge(optimum: Optimum) -> list[str]:
    where = f"the best shape at {optimum.budget:.4g} MACs"
    if optimum.at_edge:
        return [f"{where} lies at the edge of the measured range; measure beyond it"]
    if optimum.edge_draws > MOST_FAILED:
        share = f"{optimum.edge_draws:.0%}"
        return [f"{where} lies at the edge of the measured range in {share} of resamples"]
    return []


def _ended(at_end: Bools) -> list[str]:
    if not (at_end[0] or at_end[1:].mean() > MOST_FAILED):
        return []
    share = f"{at_end[1:].mean():.0%}"
    return [
        f"a term of the parametric law vanishes or its power has no value ({share} of resamples)"
    ]


def _vague(by_optima: RuleEstimate, by_law: RuleEstimate, *, agreement: float) -> list[str]:
    reasons = []
    widest = max(
        high - low
        for rule in (by_optima, by_law)
        for low, high in zip(rule.local.low, rule.local.high, strict=True)
    )
    if widest > WIDE:
        reasons.append(f"the interval of a share is {widest:.2f} wide, of a triangle of side 1")
    apart = np.abs(np.subtract(by_optima.local.values, by_law.local.values)).max()
    if agreement < DISAGREE and apart > NEAR:
        reasons.append(
            "the two estimators disagree beyond their joint 95% interval: shares "
            f"{_text(by_optima.local)} by the optima, {_text(by_law.local)} by the law"
        )
    return reasons


def _text(estimate: Estimate) -> str:
    return "/".join(f"{value:.2f}" for value in estimate.values)
