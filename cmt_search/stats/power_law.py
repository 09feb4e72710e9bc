"""Compound-scaling shares by two estimators: optima per budget, and a parametric law.

The optimum of each budget is that of a quadratic over the plane of equal MACs; the slope of the
optima against growth gives the shares. A quadratic is biased where powers differ between
dimensions, as the error is not symmetric around its minimum. The bias is predicted from the fitted
parametric law, by the same quadratic on the law's values at the same networks, and subtracted,
unless the law fits significantly worse than the quadratics.
"""

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats
from scipy.spatial import ConvexHull

from cmt_search.errors import AnalysisError
from cmt_search.stats.bootstrap import (
    MAX_FAILED,
    BootstrapFit,
    Fit,
    LinearFit,
    Trainings,
    bootstrap_fit,
    hc1_residuals,
)
from cmt_search.stats.gradient import PLANE
from cmt_search.stats.noise import Bools, Estimate, Floats, label_groups, p_value_of_zero
from cmt_search.stats.scaling_law import AdditiveLaw, fit_additive_law

SHAPES_NEEDED = 7  # six terms of a quadratic in two dimensions, and one more
BUDGETS_NEEDED = 4
SPAN_NEEDED = 8.0  # largest budget over smallest
_ALPHA = 0.05  # level at which the estimators disagree, and at which the law does not fit
_NEGLIGIBLE = 0.05  # difference of shares that rounding to whole networks also makes
_WIDEST = 0.5  # useful width of a 95% interval of a share
_LEAST_LOG_MACS_RATIO = float(np.log(2))  # of an average slope; a shorter one means little
_LEAST_VARIANCE = 1e-9  # of an optimum; noiseless data have none
_EDGE_STEPS = 32  # along each side of the measured range
_LAW_TERMS = 7
_DRAWS = 500


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BudgetShapes:
    """Networks of one budget in the plane of equal MACs."""

    rows: Bools  # (T,) which trainings
    quadratic: LinearFit
    sides: Floats  # (h, 3) of the convex hull: a point is inside where all are negative
    edge: Floats  # (k, 2) points along the hull
    log_macs_ratio: float  # mean ln(MACs / base MACs)

    @classmethod
    def from_rows(
        cls, rows: Bools, *, parts: Floats, network: Sequence[Hashable], budget: float
    ) -> "BudgetShapes":
        """Build from the trainings in `rows`; `parts` (T, 3) are contributions.

        Raises:
            AnalysisError: too few shapes, or shapes along a line or a conic section.
        """
        names = [name for name, here in zip(network, rows, strict=True) if here]
        points = parts[rows] @ PLANE
        design = _terms(points)
        collinear = np.linalg.matrix_rank(points - points.mean(axis=0), tol=1e-6) < 2
        singular = np.linalg.matrix_rank(design) < design.shape[1]
        if (count := len(set(names))) < SHAPES_NEEDED or collinear or singular:
            raise AnalysisError(
                f"the optimum at {budget:.4g} MACs needs {SHAPES_NEEDED} networks of different "
                "shapes, not along one line or curve, and the study has "
                f"{count}; run more trials there"
            )
        hull = ConvexHull(points)
        corners = points[hull.vertices]
        steps = np.linspace(0, 1, _EDGE_STEPS, endpoint=False)[:, None, None]
        edge = corners + steps * (np.roll(corners, -1, axis=0) - corners)
        return cls(
            rows=rows,
            quadratic=LinearFit.from_design(design, network=names),
            sides=hull.equations,
            edge=edge.reshape(-1, 2),
            log_macs_ratio=float(parts[rows].sum(axis=1).mean()),
        )

    def optimum(self, *, weights: Floats, error: Floats) -> tuple[Floats, Bools]:
        """Minimise the quadratic in the measured range; return also whether at its edge.

        Shape: weights and error (S, T); results, contributions (S, 3) and (S,).
        """
        beta = self.quadratic(weights[:, self.rows], error[:, self.rows])
        _, a, b, aa, bb, ab = beta.T
        determinant = 4 * aa * bb - ab**2
        convex = (aa > 0) & (determinant > 0)
        cofactors = np.stack([ab * b - 2 * bb * a, ab * a - 2 * aa * b], axis=1)
        stationary = cofactors / np.where(convex, determinant, 1.0)[:, None]
        inside = self._contains(stationary) & convex
        at_edge = self.edge[(beta @ _terms(self.edge).T).argmin(axis=1)]
        point = np.where(inside[:, None], stationary, at_edge)
        return point @ PLANE.T + self.log_macs_ratio / 3, ~inside

    def bias(self, law: AdditiveLaw, *, parts: Floats, weights: Floats) -> tuple[Floats, Bools]:
        """Predict the optimum's bias from laws; return also where the optima are in the range.

        Shape: law of S fits; parts (T, 3), weights (S, T); results (S, 3) and (S,).
        """
        best = law.allocation(self.log_macs_ratio)
        quadratic, at_edge = self.optimum(weights=weights, error=law.error(parts))
        return quadratic - best, ~at_edge & self._contains(best @ PLANE)

    def _contains(self, points: Floats) -> Bools:
        signed = np.asarray(points @ self.sides[:, :2].T + self.sides[:, 2])
        inside: Bools = np.all(signed < 0, axis=1)
        return inside


def _terms(points: Floats) -> Floats:
    """Return the columns of the quadratic. Shape: (n, 2) to (n, 6)."""
    a, b = points.T
    return np.stack([np.ones_like(a), a, b, a * a, b * b, a * b], axis=1)


def optima_slopes(optima: Floats, *, log_macs_ratio: Floats, weights: Floats) -> Floats:
    """Regress optima on growth in ln MACs, weighted; slopes sum to one, so they are shares.

    Contributions are c_i = e_i ln x_i, so this is the log-log slope of each dimension's optimum
    times its exponent. Shape: optima (S, B, 3); log_macs_ratio, weights (B,); result (S, 3).
    """
    mean = weights @ log_macs_ratio / weights.sum()
    lever = weights * (log_macs_ratio - mean)
    result: Floats = np.einsum("b,sbi->si", lever, optima) / (lever @ log_macs_ratio)
    return result


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleEstimate:
    """Shares by one estimator."""

    local: Estimate  # slope of the best contributions against ln MACs
    average: Estimate | None  # from the base to the largest budget; None below twice the base


@dataclass(frozen=True, slots=True, kw_only=True)
class Optimum:
    """The best shape at one budget, by its quadratic less the predicted bias."""

    budget: float  # MACs
    log_macs_ratio: float  # mean ln(MACs / base MACs) of its networks
    contributions: Estimate  # to that growth
    at_edge: bool  # of the measured range: the optimum may lie beyond
    edge_draws: float  # fraction of resamples in which it does


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PowerLaws:
    """Both estimates of the shares, and whether they identify a rule."""

    reasons: tuple[str, ...]  # against identification; empty: the rule is identified
    by_optima: RuleEstimate
    by_law: RuleEstimate
    p_value: float  # of equal local shares by both estimators
    optima: tuple[Optimum, ...]  # by growing budget
    failed: int  # resamples


def fit_power_laws(
    data: Trainings, *, contributions: ArrayLike, budget: ArrayLike, seed: int, draws: int = _DRAWS
) -> PowerLaws:
    """Fit both estimators and their resamples.

    Shape: contributions (T, 3), realised shares times ln(MACs / base MACs), which they sum to;
    budget (T,), the target MACs.

    Raises:
        AnalysisError: too few budgets, too close budgets, too few shapes at one of them, or a fit
            that fails.
    """
    parts, macs = np.asarray(contributions, dtype=float), np.asarray(budget, dtype=float)
    budgets = np.unique(macs)
    _check_budgets(budgets)
    shapes = [
        BudgetShapes.from_rows(macs == one, parts=parts, network=data.network, budget=one)
        for one in budgets.tolist()
    ]
    fits = bootstrap_fit(_fit(data, parts=parts, shapes=shapes), data, draws=draws, seed=seed)
    log_macs_ratio = np.array([shape.log_macs_ratio for shape in shapes])
    return _summarize(fits, budgets=budgets, log_macs_ratio=log_macs_ratio)


def _fit(data: Trainings, *, parts: Floats, shapes: list[BudgetShapes]) -> Fit:
    """Return a fit of optima (3 B), whether each is at its edge (B), and the law's theta (7)."""
    error = 1 - data.value
    start = fit_additive_law(parts, weights=np.ones(len(error)), error=error)
    if not np.isfinite(start).all():
        raise AnalysisError(
            "the parametric law of shape does not converge; measure more shapes, further apart"
        )
    fitted = AdditiveLaw.from_theta(start).error(parts)
    residuals = partial(
        hc1_residuals, fitted=fitted, networks=len(set(data.network)), terms=len(start)
    )
    law_fits = _lack_of_fit(error - fitted, shapes=shapes, data=data) >= _ALPHA

    def fit(weights: Floats, values: Floats) -> Floats:
        errors = 1 - values
        resampled = zip(weights, fitted + residuals(errors), strict=True)
        thetas = [fit_additive_law(parts, weights=w, error=e, start=start) for w, e in resampled]
        law = AdditiveLaw.from_theta(np.stack(thetas))
        optima = [shape.optimum(weights=weights, error=errors) for shape in shapes]
        biases = [shape.bias(law, parts=parts, weights=weights) for shape in shapes]
        # The law predicts no bias where its own optimum is outside the range at some budget.
        predictable = law_fits & np.all([inside for _, inside in biases], axis=0)[:, None]
        points = [
            point - np.where(predictable, bias, 0.0)
            for (point, _), (bias, _) in zip(optima, biases, strict=True)
        ]
        edges = np.stack([at_edge for _, at_edge in optima], axis=1)
        return np.hstack([*points, edges, np.stack(thetas)])

    return fit


def _lack_of_fit(residuals: Floats, *, shapes: list[BudgetShapes], data: Trainings) -> float:
    """Return the p-value of the law against a quadratic per budget, by an F test over networks.

    Shape: residuals of the law (T,).
    """
    label, _ = label_groups(data.network)
    error, within = 1 - data.value, np.empty_like(residuals)
    for one in shapes:
        within[one.rows] = error[one.rows] - one.quadratic.hat @ error[one.rows]
    law, quadratic = (
        float(np.sum(np.bincount(label, weights=r) ** 2 / np.bincount(label)))
        for r in (residuals, within)
    )
    terms = sum(len(one.quadratic.unit) for one in shapes)
    extra, dof = terms - _LAW_TERMS, sum(one.quadratic.networks for one in shapes) - terms
    variance = max(quadratic / dof, np.finfo(float).tiny)
    return float(stats.f.sf((law - quadratic) / extra / variance, extra, dof))


def _summarize(fits: BootstrapFit, *, budgets: Floats, log_macs_ratio: Floats) -> PowerLaws:
    rows = np.vstack([fits.estimate, fits.draws])
    points, edge, theta = np.split(rows, [3 * len(budgets), 4 * len(budgets)], axis=1)
    points = points.reshape(len(rows), -1, 3)
    law = AdditiveLaw.from_theta(theta)
    precision = 1 / (points[1:].var(axis=0).sum(axis=1) + _LEAST_VARIANCE)
    local = optima_slopes(points, log_macs_ratio=log_macs_ratio, weights=precision)
    largest = float(log_macs_ratio[-1])
    by_optima = _estimate_rule(local, best=points[:, -1], log_macs_ratio=largest)
    by_law = _estimate_rule(law.shares, best=law.allocation(largest), log_macs_ratio=largest)
    p_value = p_value_of_zero((local - law.shares)[:, :2])
    optima = tuple(
        Optimum(
            budget=float(budgets[i]),
            log_macs_ratio=float(log_macs_ratio[i]),
            contributions=_estimate(points[:, i]),
            at_edge=bool(edge[0, i]),
            edge_draws=float(edge[1:, i].mean()),
        )
        for i in range(len(budgets))
    )
    reasons = _reasons(
        optima,
        law_at_edge=law.at_edge,
        by_optima=by_optima.local,
        by_law=by_law.local,
        p_value=p_value,
    )
    return PowerLaws(
        reasons=tuple(reasons),
        by_optima=by_optima,
        by_law=by_law,
        p_value=p_value,
        optima=optima,
        failed=fits.failed,
    )


def _estimate_rule(local: Floats, *, best: Floats, log_macs_ratio: float) -> RuleEstimate:
    """Summarise fits to the data, the first row, and to resamples. Shape: (1 + S, 3)."""
    has_average = log_macs_ratio >= _LEAST_LOG_MACS_RATIO
    return RuleEstimate(
        local=_estimate(local), average=_estimate(best / log_macs_ratio) if has_average else None
    )


def _estimate(rows: Floats) -> Estimate:
    return Estimate.from_draws(rows[0], rows[1:])


def _check_budgets(budgets: Floats) -> None:
    span = budgets[-1] / budgets[0] if budgets.size else 0.0
    if len(budgets) < BUDGETS_NEEDED or span < SPAN_NEEDED * (1 - 1e-6):
        listed = ", ".join(f"{one:.4g}" for one in budgets.tolist()) or "none"
        raise AnalysisError(
            f"a power law needs {BUDGETS_NEEDED} budgets or more that span {SPAN_NEEDED:g}x, and "
            f"the study has {len(budgets)} that span {span:.3g}x ({listed} MACs); measure shapes "
            "at more budgets, further apart"
        )


def _reasons(
    optima: Sequence[Optimum],
    *,
    law_at_edge: Bools,
    by_optima: Estimate,
    by_law: Estimate,
    p_value: float,
) -> Iterator[str]:
    """Yield what speaks against identification. Shape: law_at_edge (1 + S,), data first."""
    for optimum in optima:
        where = f"the best shape at {optimum.budget:.4g} MACs is at the edge of the measured range"
        if optimum.at_edge:
            yield f"{where}; measure beyond it"
        elif optimum.edge_draws > MAX_FAILED:
            yield f"{where} in {optimum.edge_draws:.0%} of resamples"
    if law_at_edge[0] or law_at_edge[1:].mean() > MAX_FAILED:
        part = f"{law_at_edge[1:].mean():.0%}"
        yield f"a term of the parametric law vanishes or its power diverges ({part} of resamples)"
    widest = max(np.subtract(one.high, one.low).max() for one in (by_optima, by_law))
    if widest > _WIDEST:
        yield f"the interval of a share is {widest:.2f} wide (0 to 1 is possible)"
    difference = np.abs(np.subtract(by_optima.values, by_law.values)).max()
    if p_value < _ALPHA and difference > _NEGLIGIBLE:
        optima_text, law = ("/".join(f"{v:.2f}" for v in e.values) for e in (by_optima, by_law))
        yield (
            f"the estimators disagree (p = {p_value:.3f}, threshold {_ALPHA}): shares "
            f"{optima_text} by the optima, {law} by the law"
        )
