"""What a proxy's length and its learning rate do to shapes: fits through a few anchor networks."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from cmt_search.errors import AnalysisError
from cmt_search.stats.gradient import PLANE
from cmt_search.stats.noise import Estimate, label_groups, triple

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class LengthEffect:
    """What a longer training adds to growth in each dimension, less the mean of the three.

    Above zero: short trainings undervalue that dimension.
    """

    effect: Estimate  # per unit of ln MACs, in the units measured
    tail: float  # P of an F at least this large if no dimension differed; small: they do
    networks: int

    @property
    def favoured(self) -> int:
        """The dimension that short trainings favour most: the one that gains least."""
        return int(np.argmin(self.effect.values))


@dataclass(frozen=True, slots=True, kw_only=True)
class BestRate:
    """The best learning rate of one network."""

    factor: float  # times the recipe's
    at_edge: bool  # of the rates tried: the true one may lie beyond


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLaw:
    """ln(best rate / recipe's) = level + slope . x, x the logs of depth, width, resolution over
    the base's."""

    level: float
    slope: Estimate
    level_interval: tuple[float, float]  # 95%
    rates: tuple[BestRate, ...]  # by network
    edges: int  # of the networks, those whose best rate is at an edge: the law is a bound there
    tail: float  # P of an F at least this large if sizes did not matter; small: they do


def length_effect(
    gain: ArrayLike, *, contributions: ArrayLike, group: Sequence[Hashable]
) -> LengthEffect:
    """Regress the gain of a longer training on where growth went, each budget with its own level.

    Shape: gain (N,), longer less shorter; contributions (N, 3), see `contributions`; group (N,).

    Raises:
        AnalysisError: too few networks, or all of one shape.
    """
    y, parts = np.asarray(gain, dtype=float), np.asarray(contributions, dtype=float)
    label, _ = label_groups(group)
    level = (label[:, None] == np.arange(label.max() + 1)).astype(float)
    design = np.c_[parts @ PLANE, level]
    beta, cov, free = _least_squares(design, y, what="the effect of length on shapes")
    place, spread = beta[:2], cov[:2, :2]
    size = float(place @ np.linalg.solve(spread, place)) / 2 if spread.any() else np.inf
    effect = _estimate(PLANE @ place, cov=PLANE @ spread @ PLANE.T, freedom=free)
    return LengthEffect(effect=effect, tail=float(stats.f.sf(size, 2, free)), networks=len(y))


def best_rate(values: ArrayLike, *, factors: ArrayLike) -> BestRate:
    """The top of a parabola in ln rate through the best factor tried and the two next to it.

    Shape: values and factors (R,), more is better. Three rates at least.
    """
    order = np.argsort(factors)
    y, x = np.asarray(values, dtype=float)[order], np.log(np.asarray(factors, dtype=float)[order])
    best = int(y.argmax())
    first = min(max(best - 1, 0), len(x) - 3)
    near = slice(first, first + 3)
    bend, slope, _ = np.polyfit(x[near] - x[best], y[near], deg=2)
    top = x[best] - slope / (2 * bend) if bend < 0 else x[best]  # equal values have no top
    inside = x[0] < top < x[-1]
    return BestRate(
        factor=float(np.exp(np.clip(top, x[0], x[-1]))),
        at_edge=not inside,
    )


def rate_law(rates: Sequence[BestRate], *, x: ArrayLike) -> RateLaw:
    """Fit best rates log-linearly over the networks' sizes. Shape: x (N, 3).

    Raises:
        AnalysisError: too few networks, or all of one shape.
    """
    design = np.c_[np.asarray(x, dtype=float), np.ones(len(rates))]
    y = np.log([rate.factor for rate in rates])
    beta, cov, free = _least_squares(design, y, what="the law of learning rates")
    reach = float(stats.t.ppf(0.975, free)) * float(cov[3, 3]) ** 0.5
    slope, spread = beta[:3], cov[:3, :3]
    size = float(slope @ np.linalg.solve(spread, slope)) / 3 if spread.any() else np.inf
    return RateLaw(
        level=float(beta[3]),
        slope=_estimate(slope, cov=spread, freedom=free),
        level_interval=(float(beta[3]) - reach, float(beta[3]) + reach),
        rates=tuple(rates),
        edges=sum(rate.at_edge for rate in rates),
        tail=float(stats.f.sf(size, 3, free)),
    )


def _least_squares(design: Floats, y: Floats, *, what: str) -> tuple[Floats, Floats, int]:
    """Coefficients, their covariance, and the degrees of freedom that are left."""
    count, terms = design.shape
    if count <= terms or np.linalg.matrix_rank(design) < terms:
        raise AnalysisError(
            f"{what} needs more than {terms} networks of different shapes, and {count} were "
            "measured; raise --networks"
        )
    beta = np.asarray(np.linalg.lstsq(design, y, rcond=None)[0], dtype=float)
    rest = float(((y - design @ beta) ** 2).sum()) / (count - terms)
    cov: Floats = rest * np.linalg.inv(design.T @ design)
    return beta, cov, int(count - terms)


def _estimate(values: Floats, *, cov: Floats, freedom: int) -> Estimate:
    reach = stats.t.ppf(0.975, freedom) * np.sqrt(np.clip(np.diag(cov), 0, None))
    return Estimate(values=triple(values), low=triple(values - reach), high=triple(values + reach))
