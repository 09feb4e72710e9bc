"""Whether a base gains equally from depth, width and resolution, and a better base if not.

Around the base, with L growth in ln MACs and z the place in the plane of equal MACs,

    accuracy = level(L) + g.z + L h.z + z'Bz,

all that is left of c + v.x + x'Ax once each budget has its own level. A rule of shares s moves by
z = L PLANE's, so g tells rules apart at first order, h and B at second. g = 0 when the gains v are
equal. The base that would be balanced has z = -B^-1 g / 2, if B is negative definite, and costs
what this one costs.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cmt_search.errors import AnalysisError
from cmt_search.laws.bootstrap import DRAWS, Trainings, bootstrap
from cmt_search.laws.contributions import PLANE
from cmt_search.laws.equivalence import CLEAR, EPS
from cmt_search.laws.estimate import Triple, interval, tail_of_zero, triple
from cmt_search.laws.least_squares import LinearFit

Floats = NDArray[np.float64]

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
