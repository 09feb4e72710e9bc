"""Does a cheap training rank networks as an expensive one does, and finer than its own noise?

All that is compared is means over seeds. Intervals redraw the networks, by Exp(1) weights (Rubin
1981): another sample of networks is what a search will see. Seeds are not redrawn on top: their
noise is in the means already, and noise put on noise pulls every correlation towards zero. A few
networks in perfect order leave such an interval no width, however easily chance orders a few: so
beside it stands how often random ranks correlate as much (a permutation test).
"""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from cmt_search.errors import AnalysisError
from cmt_search.stats.noise import interval, label_groups

Floats = NDArray[np.float64]
Pairs = tuple[NDArray[np.intp], NDArray[np.intp]]

NETWORKS_NEEDED = 4  # fewer have too few pairs for an interval of a rank correlation
_DRAWS = 2000
_UNLIKELY = 0.025


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranked:
    """A rank correlation, -1 to 1."""

    value: float
    low: float  # 95% interval
    high: float
    chance: float  # P of a correlation at least as large, were the ranks random

    @property
    def positive(self) -> bool:
        """Whether it is above zero by its interval and beyond what chance does (one-sided 2.5%)."""
        return self.low > 0 and self.chance < _UNLIKELY


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """How one measurement of networks ranks them, against another."""

    kendall: Ranked
    spearman: Ranked
    within: Ranked | None  # Kendall's over pairs of equal budget; None: no budget has a pair


@dataclass(frozen=True, slots=True, kw_only=True)
class Separation:
    """Effects between networks of one budget against the noise between seeds."""

    seed_sd: float  # between seeds, in the units measured
    seed_freedom: int  # measurements beyond the first of each network
    network_sd: float  # between networks of a budget, noise removed; 0 where noise explains it
    reliability: float  # part of the variance of one training that is the network's, 0 to 1
    low: float  # 95% interval of it
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairing:
    """What is gained by training all networks with the same seeds: their luck in common."""

    common: float  # part of the variance between seeds that all networks share, 0 to 1
    chance: float  # P of an F at least this large if they shared nothing

    @property
    def standard_error(self) -> float:
        """Standard error of a contrast of two networks, over that with seeds of their own."""
        return math.sqrt(1 - self.common)


def agreement(
    cheap: ArrayLike,
    *,
    reference: ArrayLike,
    group: Sequence[Hashable],
    seed: int = 0,
    draws: int = _DRAWS,
) -> Agreement:
    """Rank correlations between two measurements of the same networks.

    Shape: cheap and reference (N,), more is better in both; group (N,), the budgets.

    Raises:
        AnalysisError: fewer than four networks.
    """
    x, y = np.asarray(cheap, dtype=float), np.asarray(reference, dtype=float)
    if len(x) < NETWORKS_NEEDED:
        raise AnalysisError(
            f"a rank correlation needs {NETWORKS_NEEDED} networks, and {len(x)} were measured; "
            "measure more"
        )
    rng = np.random.default_rng(seed)
    weights = np.vstack([np.ones(len(x)), rng.exponential(size=(draws, len(x)))])
    label, _ = label_groups(group)
    i, j = np.triu_indices(len(x), k=1)
    same = label[i] == label[j]
    anyhow = np.stack([rng.permutation(len(x)) for _ in range(draws)])
    inside = np.stack([_shuffled(label, rng=rng) for _ in range(draws)])

    def kendall(pairs: Pairs, orders: NDArray[np.intp]) -> Ranked:
        rows = _kendall(x[None], y, pairs=pairs, weights=weights)
        return _ranked(rows, by_chance=_kendall(x[orders], y, pairs=pairs, weights=weights[:1]))

    ranks, others = stats.rankdata(x), stats.rankdata(y)
    rho = _correlation(ranks[None], others, weights=weights)
    by_chance = _correlation(ranks[anyhow], others, weights=weights[:1])
    return Agreement(
        kendall=kendall((i, j), anyhow),
        spearman=_ranked(rho, by_chance=by_chance),
        within=kendall((i[same], j[same]), inside) if same.any() else None,
    )


def separation(values: ArrayLike, *, group: Sequence[Hashable]) -> Separation:
    """One-way analysis of variance within budgets: how much of a training is its network's.

    Shape: values (N, S), a row for each network; group (N,).
    Source: Shrout and Fleiss 1979, ICC(1) and its interval by the F distribution.

    Raises:
        AnalysisError: no budget has two networks, or nothing was repeated.
    """
    y = np.asarray(values, dtype=float)
    count, seeds = y.shape
    label, _ = label_groups(group)
    between = count - (label.max() + 1)
    if between < 1 or seeds < 2:
        raise AnalysisError(
            f"noise against effects needs two networks of one budget and two seeds of each, and "
            f"there are {count} networks with {seeds} seed(s); measure more"
        )
    means = y.mean(axis=1)
    level = np.bincount(label, weights=means) / np.bincount(label)
    noise = float(((y - means[:, None]) ** 2).sum()) / (count * (seeds - 1))
    spread = seeds * float(((means - level[label]) ** 2).sum()) / int(between)
    ends = stats.f.ppf([0.975, 0.025], between, count * (seeds - 1))
    low, high = (_reliability(spread / end, noise=noise, seeds=seeds) for end in ends)
    return Separation(
        seed_sd=noise**0.5,
        seed_freedom=count * (seeds - 1),
        network_sd=max(0.0, (spread - noise) / seeds) ** 0.5,
        reliability=_reliability(spread, noise=noise, seeds=seeds),
        low=low,
        high=high,
    )


def pairing(values: ArrayLike) -> Pairing:
    """Two-way analysis of variance: seeds that help or hurt all networks alike.

    Shape: values (N, S), a row for each network, a column for each seed.

    Raises:
        AnalysisError: a single network, or a single seed.
    """
    y = np.asarray(values, dtype=float)
    count, seeds = y.shape
    if count < 2 or seeds < 2:
        raise AnalysisError(
            f"what paired seeds gain needs two networks and two seeds of each, and there are "
            f"{count} and {seeds}; measure more"
        )
    by_seed = y.mean(axis=0)
    rest = y - y.mean(axis=1, keepdims=True) - by_seed + y.mean()
    own = float((rest**2).sum()) / ((count - 1) * (seeds - 1))
    shared = count * float(((by_seed - y.mean()) ** 2).sum()) / (seeds - 1)
    part = max(0.0, shared - own) / count
    ratio = shared / own if own > 0 else np.inf
    return Pairing(
        common=part / (part + own) if part + own > 0 else 0.0,
        chance=float(stats.f.sf(ratio, seeds - 1, (count - 1) * (seeds - 1))),
    )


def regret(
    cheap: ArrayLike, *, reference: ArrayLike, group: Sequence[Hashable], best: int = 1
) -> float:
    """What trusting the cheap measurement costs, a mean over budgets, in the reference's units.

    Of each budget the `best` networks by the cheap measurement are looked at again by the
    reference, and the winner is less than the reference's own best by so much.
    """
    x, y = np.asarray(cheap, dtype=float), np.asarray(reference, dtype=float)
    label, _ = label_groups(group)
    costs = []
    for one in range(label.max() + 1):
        own, theirs = x[label == one], y[label == one]
        chosen = np.argsort(-own, kind="stable")[:best]
        costs.append(theirs.max() - theirs[chosen].max())
    return float(np.mean(costs))


def _shuffled(label: NDArray[np.int_], *, rng: np.random.Generator) -> NDArray[np.intp]:
    """An order of the networks that keeps each in its budget."""
    order = np.arange(len(label))
    for one in range(label.max() + 1):
        order[label == one] = rng.permutation(order[label == one])
    return order


def _kendall(x: Floats, y: Floats, *, pairs: Pairs, weights: Floats) -> Floats:
    """Kendall's tau-b with a weight for each pair. Shape: x, weights (S or 1, N) to (S,)."""
    i, j = pairs
    over, under = np.sign(x[:, i] - x[:, j]), np.sign(y[i] - y[j])
    pair = weights[:, i] * weights[:, j]
    untied = np.sqrt((pair * (over != 0)).sum(axis=1) * (pair @ (under != 0)))
    together = (pair * over * under).sum(axis=1)
    tau: Floats = np.divide(together, untied, out=np.zeros_like(untied), where=untied > 0)
    return tau


def _correlation(x: Floats, y: Floats, *, weights: Floats) -> Floats:
    """Pearson's, weighted. Shape: x, weights (S or 1, N) to (S,)."""
    share = weights / weights.sum(axis=1, keepdims=True)
    dx = x - (share * x).sum(axis=1, keepdims=True)
    dy = y - (share @ y)[:, None]
    both = (share * dx * dy).sum(axis=1)
    size = np.sqrt((share * dx**2).sum(axis=1) * (share * dy**2).sum(axis=1))
    found: Floats = np.divide(both, size, out=np.zeros_like(size), where=size > 0)
    return found


def _ranked(rows: Floats, *, by_chance: Floats) -> Ranked:
    """From the data, the first row, and their redraws; and from random orders."""
    low, high = interval(rows[1:])
    # The order at hand is one of the random ones: so P is never zero.
    chance = (1 + int((by_chance >= rows[0] - 1e-12).sum())) / (1 + len(by_chance))
    return Ranked(value=float(rows[0]), low=float(low), high=float(high), chance=chance)


def _reliability(spread: float, *, noise: float, seeds: int) -> float:
    total = spread + (seeds - 1) * noise
    return float(np.clip((spread - noise) / total, 0, 1)) if total > 0 else 0.0
