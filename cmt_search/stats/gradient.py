"""Test of equal gains from depth, width and resolution at the base, and a better base."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from cmt_search.stats.equivalence import ALPHA, SMALLEST_EFFECT
from cmt_search.stats.noise import (
    Estimate,
    Floats,
    Triple,
    p_value_of_zero,
    simultaneous_interval,
    to_triple,
)

# Columns span the directions of equal MACs: depth against width, both against resolution.
PLANE: Floats = np.array([[1.0, 1.0], [-1.0, 1.0], [0.0, -2.0]]) / np.sqrt([2.0, 6.0])

STEP = 0.25  # largest part of a first-order correction, in ln MACs
MAX_MOVE = float(np.log(2))  # largest part of a second-order correction, in ln MACs
_CONCAVE = 0.95  # part of the draws that must be concave for a second-order correction


@dataclass(frozen=True, slots=True, kw_only=True)
class GradientTest:
    """First-order gains less their mean, in top1 at `log_macs_ratio`, and a test of equality."""

    gains: Estimate  # simultaneous intervals of level 1 - ALPHA: they agree with the test
    p_value: float  # of equal gains
    unbalanced: bool  # p_value < ALPHA, and the gains differ by more than the smallest effect
    log_macs_ratio: float = 1.0  # ln(MACs / base MACs)

    @classmethod
    def from_draws(cls, first: Floats, *, log_macs_ratio: float = 1.0) -> "GradientTest":
        """Test draws of first-order gains, in top1 at `log_macs_ratio`. Shape: (S, 3)."""
        relative = first - first.mean(axis=1, keepdims=True)
        p_value = p_value_of_zero(relative[:, :2])  # the third is minus their sum
        gains = relative.mean(axis=0)
        low, high = simultaneous_interval(relative, level=1 - ALPHA, rank=2)
        return cls(
            gains=Estimate.from_arrays(gains, low=low, high=high),
            p_value=p_value,
            unbalanced=bool(p_value < ALPHA and np.ptp(gains) > SMALLEST_EFFECT),
            log_macs_ratio=log_macs_ratio,
        )

    @property
    def leader(self) -> int:
        """Index of the dimension that gains most; to first order its corner is the best rule."""
        return int(np.argmax(self.gains.values))


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseCorrection:
    """A move at the base's own MACs towards a base that gains equally from all dimensions."""

    order: int  # 2: to the stationary point; 1: a step of `STEP`, without a known curvature
    contributions: Triple  # ln MACs per dimension; they sum to zero
    shortened: bool  # the stationary point is farther away than `MAX_MOVE`
    x: Triple  # logs of the factors on depth, width and resolution
    gain: float  # expected, top1


def correct_base(
    first: Floats, *, second: Floats, log_macs_ratio: float, exponents: ArrayLike
) -> BaseCorrection:
    """Propose a base with equal gains; meaningful where the gradient test is "unbalanced".

    Shape: draws of derivatives, first (S, 3) and second (S, 6) in the order dd, ww, rr, dw, dr, wr;
    exponents (3,), local ones of MACs at the base.
    Units: derivatives in top1 at `log_macs_ratio`.
    """
    full = PLANE.T @ second[:, [[0, 3, 4], [3, 1, 5], [4, 5, 2]]] @ PLANE / log_macs_ratio**2
    gradient = (first @ PLANE / log_macs_ratio).mean(axis=0)
    curvature = full.mean(axis=0)
    concave = np.linalg.eigvalsh(full)[:, 1] < 0
    second_order = bool(concave.mean() >= _CONCAVE and np.linalg.eigvalsh(curvature)[1] < 0)
    target = np.linalg.solve(-2 * curvature, gradient) if second_order else gradient
    length = float(np.abs(PLANE @ target).max())
    limit = min(length, MAX_MOVE) if second_order else STEP
    scale = limit / length
    move: Floats = PLANE @ target * scale
    gain = scale * gradient @ target + second_order * scale**2 * (target @ curvature @ target)
    return BaseCorrection(
        order=2 if second_order else 1,
        contributions=to_triple(move),
        shortened=second_order and length > MAX_MOVE,
        x=to_triple(move / np.asarray(exponents, dtype=float)),
        gain=float(gain),
    )
