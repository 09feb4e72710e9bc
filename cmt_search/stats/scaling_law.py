"""Parametric scaling laws of the error and of the best learning rate.

AdditiveLaw: error = E + sum_i A_i exp(-a_i c_i), a sum of power laws, where c_i = e_i ln x_i is the
contribution of dimension i to the growth L in ln MACs. Under sum c_i = L the best allocation has
equal gradients a_i A_i exp(-a_i c_i) = lambda, hence
    c_i = (ln(a_i A_i) - ln lambda) / a_i,    ln lambda = (sum ln(a_i A_i) / a_i - L) / sum 1 / a_i,
and shares dc_i/dL = (1 / a_i) / sum 1 / a_j at every budget. From the base, where c = 0 need not be
optimal, shares are c_i / L.

AccuracyLaw: error = E + A M^(-a) of a family of networks, with prediction intervals.

LrScaling: the best learning rate as a power law of depth, width and resolution.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats
from scipy.optimize import least_squares, nnls

from cmt_search.errors import AnalysisError
from cmt_search.stats.bootstrap import DRAWS, Trainings, bootstrap_fit, hc1_residuals
from cmt_search.stats.noise import Bools, Estimate, Floats, percentile_interval

POWERS = (0.01, 5.0)  # range of a_i
_GRID = (0.1, 0.4, 1.2)  # starting powers, in each dimension
_STARTS = 3
_EDGE = 0.02  # in ln a_i: distance at which a power counts as at the end of its range
_HUBER = 1.345  # standard deviations: 95% efficient on Gaussian noise
_TOLERANCE = 1e-5  # relative progress; more changes no share
_LEAST_SCALE = 1e-5  # of the residuals; noiseless data have none

SIZES_NEEDED = 4  # networks of different MACs: three parameters and one more
_MACS_POWERS: Floats = np.geomspace(0.02, 3.0, 150)  # steps of 3.4%
_RESIDUALS = 20  # drawn for each draw of the curve


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AdditiveLaw:
    """Parameters of one fit or of many. Shape: floor (...,), the others (..., 3)."""

    floor: Floats  # E
    scales: Floats  # A_i, error due to each dimension at the base
    powers: Floats  # a_i, per unit of ln MACs

    @classmethod
    def from_theta(cls, theta: Floats) -> "AdditiveLaw":
        """Build from the result of `fit_additive_law`, (..., 7)."""
        return cls(
            floor=theta[..., 0], scales=np.exp(theta[..., 1:4]), powers=np.exp(theta[..., 4:])
        )

    @property
    def shares(self) -> Floats:
        """Local shares of the best allocation. Shape: (..., 3)."""
        result: Floats = 1 / self.powers / (1 / self.powers).sum(axis=-1, keepdims=True)
        return result

    @property
    def at_edge(self) -> Bools:
        """Whether a power is at the end of its range, or a term vanishes. Shape: (...)."""
        low, high = np.log(POWERS)
        log_power = np.log(self.powers)
        edge = (log_power < low + _EDGE) | (log_power > high - _EDGE) | (self.scales < 1e-5)
        result: Bools = edge.any(axis=-1)
        return result

    def allocation(self, log_macs_ratio: float) -> Floats:
        """Return the best contributions at growth L in ln MACs. Shape: (..., 3)."""
        offset = np.log(self.powers * self.scales) / self.powers
        rest = log_macs_ratio - offset.sum(axis=-1, keepdims=True)
        result: Floats = offset + self.shares * rest
        return result

    def error(self, parts: Floats) -> Floats:
        """Evaluate at contributions (n, 3). Shape: (..., n)."""
        terms = self.scales[..., None, :] * np.exp(-self.powers[..., None, :] * parts)
        result: Floats = self.floor[..., None] + terms.sum(axis=-1)
        return result


def fit_additive_law(
    parts: Floats, *, weights: Floats, error: Floats, start: Floats | None = None
) -> Floats:
    """Fit E, ln A_i, ln a_i by weighted Huber loss on the error, not on its log.

    Noise of accuracy is about the same for all networks of a study. The threshold is 1.345 robust
    standard deviations of a first fit. Without a `start`, the best few of a grid of powers are
    tried, each with its own best E and A_i >= 0.
    Shape: parts (T, 3); weights, error (T,); result (7,), NaN where no start converged.
    """
    starts = _starts(parts, weights=weights, error=error) if start is None else [start]
    low = np.r_[0.0, np.full(3, -14.0), np.full(3, np.log(POWERS[0]))]
    high = np.r_[max(float(error.min()), 1e-3), np.full(3, 4.0), np.full(3, np.log(POWERS[1]))]
    scale = _LEAST_SCALE + 1.4826 * float(np.median(np.abs(_residual(starts[0], parts, error))))
    best = np.full(7, np.nan)
    least = np.inf
    for theta in starts:
        fit = least_squares(
            _residual,
            np.clip(theta, low + 1e-9, high - 1e-9),
            jac=_jacobian,
            bounds=(low, high),
            loss=partial(_huber, weights),
            f_scale=_HUBER * scale,
            x_scale="jac",
            ftol=_TOLERANCE,
            xtol=_TOLERANCE,
            gtol=_TOLERANCE / 10,
            max_nfev=300,
            args=(parts, error),
        )
        if fit.success and fit.cost < least:
            best, least = fit.x, fit.cost
    return best


def _starts(parts: Floats, *, weights: Floats, error: Floats) -> list[Floats]:
    root = np.sqrt(weights)
    candidates = []
    for powers in product(_GRID, repeat=3):
        columns = np.hstack([np.ones((len(parts), 1)), np.exp(-np.array(powers) * parts)])
        linear, misfit = nnls(columns * root[:, None], error * root)
        theta = np.r_[linear[0], np.log(np.maximum(linear[1:], 1e-4)), np.log(powers)]
        candidates.append((float(misfit), theta))
    return [theta for _, theta in sorted(candidates, key=lambda start: start[0])[:_STARTS]]


def _residual(theta: Floats, parts: Floats, error: Floats) -> Floats:
    fitted: Floats = theta[0] + np.exp(-np.exp(theta[4:]) * parts) @ np.exp(theta[1:4])
    return fitted - error


def _jacobian(theta: Floats, parts: Floats, _: Floats) -> Floats:
    terms = np.exp(theta[1:4] - np.exp(theta[4:]) * parts)
    return np.hstack([np.ones((len(parts), 1)), terms, -terms * np.exp(theta[4:]) * parts])


def _huber(weights: Floats, z: Floats) -> Floats:
    """Return the weighted Huber loss of squares z and two derivatives, for scipy. Shape: (3, T)."""
    outer = np.maximum(z, 1.0)
    root = np.sqrt(outer)
    rho = np.where(z <= 1, z, 2 * root - 1)
    result: Floats = weights * np.stack([rho, 1 / root, -0.5 * (z > 1) / (outer * root)])
    return result


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """Prediction of top1 at some MACs."""

    macs: float
    value: float
    low: float  # 95% interval of the curve
    high: float
    next_low: float  # 95% interval of one further training of one further network
    next_high: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AccuracyLaw:
    """error = E + A (M / unit)^(-a)."""

    floor: float  # E
    scale: float  # A, the error above the floor at `unit` MACs
    power: float  # a
    unit: float  # MACs, geometric mean of the trainings'
    at_edge: float  # fraction of resamples whose power is at an end of its range
    failed: int  # resamples
    noise: Floats = field(repr=False)  # (T,) HC1 residuals
    draws: Floats = field(repr=False)  # (S, 3) of the three

    def predict(self, macs: float, *, seed: int = 0) -> Prediction:
        """Predict the curve and one further training at `macs`.

        Noise does not depend on MACs; top1 stays within 0..1. Intervals are widened as Student's t
        is wider than a normal, since a few trainings determine their own noise badly.
        """
        rng = np.random.default_rng(seed)
        at = np.log(macs / self.unit)
        curve = _curve(self.draws, at)
        further = np.ravel(curve + rng.choice(self.noise, size=(_RESIDUALS, len(curve))))
        value = float(_curve(np.array([self.floor, self.scale, self.power]), at))
        factor = float(stats.t.ppf(0.975, len(self.noise) - 3) / stats.norm.ppf(0.975))
        ends = [percentile_interval(value + factor * (d - value)) for d in (curve, further)]
        errors = np.array([value, *ends[0], *ends[1]])
        top1, high, low, next_high, next_low = np.clip(1 - errors, 0, 1).tolist()
        return Prediction(
            macs=macs, value=top1, low=low, high=high, next_low=next_low, next_high=next_high
        )


def fit_accuracy_law(
    data: Trainings, *, macs: ArrayLike, seed: int, draws: int = DRAWS
) -> AccuracyLaw:
    """Fit error against MACs to a family's trainings.

    E and A follow from the power by weighted least squares with neither below zero, so a grid of
    powers finds the global minimum for every resample at once.
    Shape: macs (T,), the networks' own.

    Raises:
        AnalysisError: fewer than four sizes of network.
    """
    size = np.asarray(macs, dtype=float)
    if (count := len(np.unique(size))) < SIZES_NEEDED:
        raise AnalysisError(
            f"a law of accuracy against MACs needs {SIZES_NEEDED} sizes of network, and the "
            f"family has {count} measured; measure it at more budgets"
        )
    unit = float(np.exp(np.log(size).mean()))
    at = np.log(size / unit)
    theta = _fit_curve(at, weights=np.ones((1, len(at))), error=1 - data.value[None])[0]
    fitted = _curve(theta, at)
    residuals = partial(hc1_residuals, fitted=fitted, networks=len(set(data.network)), terms=3)

    def fit(weights: Floats, values: Floats) -> Floats:
        return _fit_curve(at, weights=weights, error=fitted + residuals(1 - values))

    fits = bootstrap_fit(fit, data, draws=draws, seed=seed)
    powers = fits.draws[:, 2]
    floor, scale, power = theta.tolist()
    return AccuracyLaw(
        floor=floor,
        scale=scale,
        power=power,
        unit=unit,
        at_edge=float(np.mean((powers <= _MACS_POWERS[0]) | (powers >= _MACS_POWERS[-1]))),
        failed=fits.failed,
        noise=residuals(1 - data.value),
        draws=fits.draws,
    )


def _curve(theta: Floats, at: float | Floats) -> Floats:
    """Evaluate at ln(M / unit). Shape: theta (S, 3) and at () to (S,), or (3,) and (T,) to (T,)."""
    floor, scale, power = theta.T
    result: Floats = floor + scale * np.exp(-power * at)
    return result


def _fit_curve(at: Floats, *, weights: Floats, error: Floats) -> Floats:
    """Fit E, A and a by least squares. Shape: at (T,); weights, error (S, T); result (S, 3)."""
    z = np.exp(-np.multiply.outer(at, _MACS_POWERS))  # (T, G)
    w, wy = weights.sum(axis=1, keepdims=True), (weights * error).sum(axis=1, keepdims=True)
    wz, wzz, wzy = weights @ z, weights @ z**2, (weights * error) @ z
    scale = (w * wzy - wz * wy) / (w * wzz - wz**2)
    floor = (wy - scale * wz) / w
    scale = np.where(floor < 0, wzy / wzz, np.maximum(scale, 0))
    floor = np.where(floor < 0, 0, (wy - scale * wz) / w)
    # Square error of each power's best E and A, less that of E = A = 0.
    best = np.argmin(-(scale * wzy + floor * wy), axis=1)
    rows = np.arange(len(best))
    return np.stack([floor[rows, best], scale[rows, best], _MACS_POWERS[best]], axis=1)


class BestLr(NamedTuple):
    """The best learning rate of one network."""

    factor: float  # times the recipe's
    at_edge: bool  # of the rates tried: the optimum may lie beyond


@dataclass(frozen=True, slots=True, kw_only=True)
class LrScaling:
    """ln(best rate / recipe's) = level + slope . x, with x as in `fit_lr_scaling`."""

    level: float
    slope: Estimate
    edges: int  # networks whose best rate is at an edge
    networks: int
    p_value: float  # F test of no dependence on size


def find_best_lr(values: ArrayLike, *, factors: ArrayLike) -> BestLr:
    """Maximise a parabola in ln rate through the best factor tried and its two neighbours.

    Shape: values and factors (R,), at least three rates; larger values are better.
    """
    order = np.argsort(factors)
    y, x = np.asarray(values, dtype=float)[order], np.log(np.asarray(factors, dtype=float)[order])
    best = int(y.argmax())
    first = min(max(best - 1, 0), len(x) - 3)
    near = slice(first, first + 3)
    bend, slope, _ = np.polyfit(x[near] - x[best], y[near], deg=2)
    top = x[best] - slope / (2 * bend) if bend < 0 else x[best]  # equal values have no maximum
    return BestLr(factor=float(np.exp(np.clip(top, x[0], x[-1]))), at_edge=not x[0] < top < x[-1])


def fit_lr_scaling(rates: Sequence[BestLr], *, x: ArrayLike) -> LrScaling:
    """Fit best rates log-linearly, by least squares with intervals of Student's t.

    Shape: x (N, 3), the logs of depth, width and resolution over the base's.

    Raises:
        AnalysisError: too few networks, or collinear sizes.
    """
    design = np.c_[np.asarray(x, dtype=float), np.ones(len(rates))]
    y = np.log([rate.factor for rate in rates])
    count, terms = design.shape
    if count <= terms or np.linalg.matrix_rank(design) < terms:
        raise AnalysisError(
            f"learning-rate scaling needs more than {terms} networks of different shapes, and "
            f"{count} were measured; raise --networks"
        )
    beta = np.asarray(np.linalg.lstsq(design, y, rcond=None)[0], dtype=float)
    dof = count - terms
    variance = float(((y - design @ beta) ** 2).sum()) / dof
    cov = variance * np.linalg.inv(design.T @ design)
    half_width = stats.t.ppf(0.975, dof) * np.sqrt(np.diag(cov))[:3]
    slope, spread = beta[:3], cov[:3, :3]
    f_ratio = float(slope @ np.linalg.solve(spread, slope)) / 3 if spread.any() else np.inf
    return LrScaling(
        level=float(beta[3]),
        slope=Estimate.from_arrays(slope, low=slope - half_width, high=slope + half_width),
        edges=sum(rate.at_edge for rate in rates),
        networks=len(rates),
        p_value=float(stats.f.sf(f_ratio, 3, dof)),
    )
