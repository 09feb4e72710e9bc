"""Learning-rate scaling: how the best learning rate depends on depth, width and resolution."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from cmt_search.errors import AnalysisError
from cmt_search.stats.noise import Estimate, to_triple


@dataclass(frozen=True, slots=True, kw_only=True)
class BestLr:
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
        slope=Estimate(
            values=to_triple(slope),
            low=to_triple(slope - half_width),
            high=to_triple(slope + half_width),
        ),
        edges=sum(rate.at_edge for rate in rates),
        networks=len(rates),
        p_value=float(stats.f.sf(f_ratio, 3, dof)),
    )
