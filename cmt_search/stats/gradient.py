"""Test of equal gains from depth, width and resolution at the base."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cmt_search.errors import AnalysisError
from cmt_search.stats.bootstrap import DRAWS, LinearFit, Trainings, bootstrap
from cmt_search.stats.equivalence import CLEAR, EPS
from cmt_search.stats.noise import Triple, interval, tail_of_zero, triple

Floats = NDArray[np.float64]

# Columns span the moves at equal MACs: depth against width, both against resolution.
PLANE: Floats = np.array([[1.0, 1.0], [-1.0, 1.0], [0.0, -2.0]]) / np.sqrt([2.0, 6.0])
_UNEXPLAINED = 0.25  # of ln MACs; rounding leaves a few hundredths


def contributions(x: ArrayLike, *, exponents: ArrayLike, growth: ArrayLike) -> Floats:
    """c_i = e_i x_i, with what rounding leaves of the growth spread evenly: sum c_i = growth.

    In these coordinates equal MACs are a plane whatever the exponents, and a rule of shares s is
    the line c = L s. Path exponents make it so along the whole path. Realised shares times growth
    are the same thing, and see what rounding did to each stage; but at the base's own MACs shares
    have no value, and contributions have.
    Shape: x, the logs of depth, width and resolution over the base's, (T, 3); exponents of MACs in
    them (3,) or, one path each, (T, 3); growth ln(MACs / base MACs) (T,); result (T, 3).

    Raises:
        AnalysisError: the exponents do not explain the growth.
    """
    parts = np.asarray(x, dtype=float) * np.asarray(exponents, dtype=float)
    missing = np.asarray(growth, dtype=float) - parts.sum(axis=-1)
    worst = np.abs(missing).max(initial=0.0)
    if not worst <= _UNEXPLAINED:
        raise AnalysisError(
            f"the exponents leave {worst:.2f} of the growth in ln MACs of a network unexplained; "
            "use path exponents of each network (scaling.SmoothFamily.path_exponents)"
        )
    result: Floats = parts + missing[..., None] / 3
    return result


STEP = 0.25  # of a move where curvature is not known: its largest part, in ln MACs
FARTHEST = float(np.log(2))  # likewise where it is: farther off the expansion says little
_KNOWN = 0.95  # fraction of draws that must curve down for curvature to count as known


@dataclass(frozen=True, slots=True, kw_only=True)
class Balance:
    """First-order gains v_i less their mean, in top1 at `growth`."""

    gains: Triple  # depth, width, resolution
    low: Triple  # 95% intervals
    high: Triple
    tail: float  # mass of draws at least as far out as equality; small: not equal
    unbalanced: bool  # tail below 1%, and the gains differ by more than eps
    growth: float = 1.0  # L that the gains are multiplied by, ln(MACs / base MACs)

    @property
    def leader(self) -> int:
        """The dimension that gains most; to first order its corner is the best rule."""
        return int(np.argmax(self.gains))

    @property
    def per_log_macs(self) -> Triple:
        """The gains per unit of ln MACs."""
        return triple(np.array(self.gains) / self.growth)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Expansion:
    """Draws of accuracy around the base in the plane of equal MACs, per unit of ln MACs."""

    gradient: Floats  # (S, 2) g
    curvature: Floats  # (S, 2, 2) B
    growth: float  # of the largest budget: how far the draws were measured
    failed: int = 0  # resamples without a fit
    images: bool = False  # whether validation images were redrawn

    @classmethod
    def of_surface(cls, first: Floats, *, second: Floats, growth: float) -> "Expansion":
        """From draws of v (S, 3) and A (S, 6: dd, ww, rr, dw, dr, wr) as a `Surface` has them,
        in top1 at `growth`."""
        full = second[:, [[0, 3, 4], [3, 1, 5], [4, 5, 2]]]
        return cls(
            gradient=first @ PLANE / growth,
            curvature=PLANE.T @ full @ PLANE / growth**2,
            growth=growth,
        )

    @property
    def balance(self) -> Balance:
        """The test of equal gains, in top1 at the largest budget."""
        return balance(self.gradient @ PLANE.T * self.growth, growth=self.growth)


@dataclass(frozen=True, slots=True, kw_only=True)
class Repair:
    """A move at the base's own MACs towards a base that gains equally from all dimensions."""

    leader: int  # the dimension that gains most
    excess: float  # its gain per unit of ln MACs above the mean of the three, top1
    order: int  # 2: where the gains balance; 1: a step of `STEP`, as curvature is not known
    contributions: Triple  # c: ln MACs that go to each dimension; they sum to zero
    interval: tuple[Triple, Triple] | None  # 95%, of c before shortening; None to first order
    shortened: bool  # the balance lies farther away than `FARTHEST`
    x: Triple  # logs of the factors on depth, width and resolution
    gain: float  # expected of the move, top1


def balance(first: Floats, *, eps: float = EPS, growth: float = 1.0) -> Balance:
    """Test from draws (S, 3) of v, in top1 at `growth`, whether its entries are equal."""
    relative = first - first.mean(axis=1, keepdims=True)
    tail = tail_of_zero(relative[:, :2])  # the third is minus their sum
    gains = relative.mean(axis=0)
    low, high = interval(relative)
    return Balance(
        gains=triple(gains),
        low=triple(low),
        high=triple(high),
        tail=tail,
        unbalanced=bool(tail < CLEAR and np.ptp(gains) > eps),
        growth=growth,
    )


def expansion(
    data: Trainings,
    *,
    contributions: ArrayLike,
    budget: ArrayLike,
    seed: int,
    draws: int = DRAWS,
) -> Expansion:
    """Weighted least squares and its bootstrap: what a response surface says, without its prior.

    Shape: contributions (T, 3), which sum to growth in ln MACs; budget (T,), the MACs asked for.
    Units: minus the loss stands for accuracy where losses were measured.

    Raises:
        AnalysisError: a single budget, or too few different networks.
    """
    parts, asked = np.asarray(contributions, dtype=float), np.asarray(budget, dtype=float)
    budgets = np.unique(asked)
    if len(budgets) < 2:
        raise AnalysisError(
            "one budget cannot tell what a base gains at first order from curvature; "
            "measure rules at two budgets or more"
        )
    growth, (a, b) = parts.sum(axis=1), (parts @ PLANE).T
    level = (asked[:, None] == budgets).astype(float)
    design = np.c_[level, a, b, growth * a, growth * b, a * a, b * b, a * b]
    linear = LinearFit.of(design, network=data.network)

    def fit(weights: Floats, values: Floats) -> Floats:
        return linear(weights, -data.error(values))[:, len(budgets) :]

    fits = bootstrap(fit, data, draws=draws, seed=seed)
    kept = fits.kept
    aa, bb, ab = kept[:, 4], kept[:, 5], kept[:, 6] / 2
    return Expansion(
        gradient=kept[:, :2],
        curvature=np.stack([aa, ab, ab, bb], axis=1).reshape(-1, 2, 2),
        growth=float(growth[asked == budgets[-1]].mean()),
        failed=fits.failed,
        images=fits.images,
    )


def repair(of: Expansion, *, exponents: ArrayLike) -> Repair:
    """Where a better base lies; worth a look when the `balance` is "unbalanced".

    Shape: exponents (3,), local ones of MACs at the base.
    """
    gradient, curvature = of.gradient.mean(axis=0), of.curvature.mean(axis=0)
    excess = PLANE @ gradient
    curved = np.linalg.eigvalsh(of.curvature)[:, 1] < 0
    known = bool(curved.mean() >= _KNOWN and np.linalg.eigvalsh(curvature)[1] < 0)
    place: Floats = _stationary(gradient, curvature) if known else gradient
    ends: tuple[Triple, Triple] | None = None
    if known:
        low, high = interval(_stationary(of.gradient[curved], of.curvature[curved]) @ PLANE.T)
        ends = triple(low), triple(high)
    length = float(np.abs(PLANE @ place).max())
    shortened = known and length > FARTHEST
    scale = FARTHEST / length if shortened else 1.0 if known else STEP / length
    move: Floats = PLANE @ place * scale
    return Repair(
        leader=int(np.argmax(excess)),
        excess=float(excess.max()),
        order=2 if known else 1,
        contributions=triple(move),
        interval=ends,
        shortened=shortened,
        x=triple(move / np.asarray(exponents, dtype=float)),
        gain=float(scale * gradient @ place + known * scale**2 * (place @ curvature @ place)),
    )


def _stationary(gradient: Floats, curvature: Floats) -> Floats:
    """Where g + 2 B z is zero. Shape: (..., 2) and (..., 2, 2) to (..., 2)."""
    place = np.linalg.solve(-2 * curvature, gradient[..., None])[..., 0]
    return np.asarray(place, dtype=float)
