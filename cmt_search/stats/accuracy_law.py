"""Accuracy against MACs of a family: error = E + A M^(-a), with what a next network may give.

E and A follow from the power a by weighted least squares, neither below zero, so a alone is
searched, over a grid, for every resample at once: the least squares found is the global one. A
curve through few budgets knows E badly; predictions beyond them are the wider for it.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from cmt_search.errors import AnalysisError
from cmt_search.stats.bootstrap import DRAWS, Trainings, bootstrap, inflated
from cmt_search.stats.noise import interval, triple

Floats = NDArray[np.float64]

SIZES_NEEDED = 4  # networks of different MACs: three parameters and one to spare
_POWERS: Floats = np.geomspace(0.02, 3.0, 150)  # steps of 3.4%, finer than any study tells apart
_REDRAWS = 20  # of a residual for each draw of the curve


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """What the law says at some MACs, in the units measured."""

    macs: float
    value: float
    low: float  # 95% interval of the curve: the mean of many networks of the family
    high: float
    next_low: float  # 95% interval of one further training of one further network
    next_high: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AccuracyLaw:
    """The fitted law; `M` is in units of `unit`."""

    floor: float  # E
    scale: float  # A, the error above the floor at `unit` MACs
    power: float  # a
    low: tuple[float, float, float]  # 95% intervals of the three
    high: tuple[float, float, float]
    unit: float  # MACs, geometric mean of the trainings'
    at_end: float  # fraction of resamples whose power is at an end of its range: no value
    failed: int
    images: bool  # whether validation images were redrawn too
    noise: Floats = field(repr=False)  # (T,) residuals, inflated for the parameters fitted
    draws: Floats = field(repr=False)  # (S, 3)
    top1: bool
    freedom: int  # trainings beyond the three parameters

    def predict(self, macs: float, *, seed: int = 0) -> Prediction:
        """The curve at `macs`, and one further training: the curve's draws plus redrawn residuals.

        Errors are redrawn independently of MACs; top1 stays within 0..1. Draws are spread as far
        from the curve as Student's t is wider than a normal: a few trainings know their own noise
        badly.
        """
        rng = np.random.default_rng(seed)
        at = np.log(macs / self.unit)
        curve = _curve(self.draws, at)
        noise = rng.choice(self.noise, size=(_REDRAWS, len(curve)))
        further = np.ravel(curve + noise)
        own = float(_curve(np.array([[self.floor, self.scale, self.power]]), at)[0])
        wider = float(stats.t.ppf(0.975, self.freedom) / stats.norm.ppf(0.975))
        (low, high), (next_low, next_high) = (
            interval(own + wider * (rows - own)) for rows in (curve, further)
        )
        errors = np.array([own, low, high, next_low, next_high])
        if self.top1:
            value, high, low, next_high, next_low = np.clip(1 - errors, 0, 1).tolist()
        else:
            value, low, high, next_low, next_high = errors.tolist()
        return Prediction(
            macs=macs, value=value, low=low, high=high, next_low=next_low, next_high=next_high
        )


def accuracy_law(data: Trainings, *, macs: ArrayLike, seed: int, draws: int = DRAWS) -> AccuracyLaw:
    """Fit the law to a family's trainings, a row each.

    Shape: macs (T,), the networks' own.

    Raises:
        AnalysisError: fewer than four sizes of network.
    """
    size = np.asarray(macs, dtype=float)
    held = len(np.unique(size))
    if held < SIZES_NEEDED:
        raise AnalysisError(
            f"a law of accuracy against MACs needs {SIZES_NEEDED} sizes of network, and the "
            f"family has {held} measured; measure it at more budgets"
        )
    unit = float(np.exp(np.log(size).mean()))
    at = np.log(size / unit)

    networks = len(set(data.network))
    own = data.error(data.value)
    floor, scale, power = _fit(at, weights=np.ones((1, len(at))), error=own[None])[0].tolist()
    fitted = floor + scale * np.exp(-power * at)

    def fit(weights: Floats, values: Floats) -> Floats:
        error = inflated(data.error(values), fitted=fitted, networks=networks, terms=3)
        return _fit(at, weights=weights, error=error)

    fits = bootstrap(fit, data, draws=draws, seed=seed)
    ends = (fits.kept[:, 2] <= _POWERS[0]) | (fits.kept[:, 2] >= _POWERS[-1])
    return AccuracyLaw(
        floor=floor,
        scale=scale,
        power=power,
        low=triple(fits.low),
        high=triple(fits.high),
        unit=unit,
        at_end=float(ends.mean()),
        failed=fits.failed,
        images=fits.images,
        noise=inflated(own, fitted=fitted, networks=networks, terms=3) - fitted,
        draws=fits.kept,
        top1=data.measure == "top1",
        freedom=len(at) - 3,
    )


def _curve(theta: Floats, at: float | Floats) -> Floats:
    """Error at ln(M / unit); theta (S, 3) of E, A and a."""
    floor, scale, power = theta.T
    result: Floats = floor + scale * np.exp(-power * at)
    return result


def _fit(at: Floats, *, weights: Floats, error: Floats) -> Floats:
    """E, A and a of least squares. Shape: at (T,); weights, error (S, T); result (S, 3)."""
    z = np.exp(-np.multiply.outer(at, _POWERS))  # (T, G)
    w, wy = weights.sum(axis=1, keepdims=True), (weights * error).sum(axis=1, keepdims=True)
    wz, wzz, wzy = weights @ z, weights @ z**2, (weights * error) @ z
    scale = (w * wzy - wz * wy) / (w * wzz - wz**2)
    floor = (wy - scale * wz) / w
    scale = np.where(floor < 0, wzy / wzz, np.maximum(scale, 0))
    floor = np.where(floor < 0, 0, (wy - scale * wz) / w)
    # Of each power's best E and A, the square error less that of E = A = 0.
    best = np.argmin(-(scale * wzy + floor * wy), axis=1)
    rows = np.arange(len(best))
    return np.stack([floor[rows, best], scale[rows, best], _POWERS[best]], axis=1)
