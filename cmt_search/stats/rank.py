"""Rank agreement of low- and high-fidelity training, relative to seed noise.

Rankings compare means over seeds. Intervals resample networks with Exp(1) weights (Rubin 1981), as
a search will see other networks. Seeds are not resampled: their noise is already in the means, and
adding it again would bias correlations towards zero. With few networks in perfect order such an
interval has no width, so a permutation test accompanies it.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from cmt_search.errors import AnalysisError
from cmt_search.stats.noise import Floats, Ints, label_groups, percentile_interval

NETWORKS_NEEDED = 4  # fewer have too few pairs for an interval of a rank correlation
_DRAWS = 2000
_ALPHA = 0.025  # one-sided


@dataclass(frozen=True, slots=True, kw_only=True)
class RankCorrelation:
    """A rank correlation, -1 to 1."""

    value: float
    low: float  # 95% interval
    high: float
    p_value: float  # permutation test against a positive correlation

    @property
    def positive(self) -> bool:
        """Whether both the interval and the permutation test exclude zero (one-sided 2.5%)."""
        return self.low > 0 and self.p_value < _ALPHA


@dataclass(frozen=True, slots=True, kw_only=True)
class RankAgreement:
    """How well one measurement of networks ranks them as another does."""

    overall: RankCorrelation
    within: RankCorrelation | None  # over pairs of equal budget; None: no such pair


@dataclass(frozen=True, slots=True, kw_only=True)
class VarianceComponents:
    """Variance between networks of one budget, and between seeds."""

    seed_sd: float  # in the units measured
    network_sd: float  # noise removed; 0 where noise explains it
    reliability: float  # ICC(1): part of one training's variance that is its network's, 0 to 1
    low: float  # 95% interval of it
    high: float


def compare_rankings(
    values: ArrayLike,
    *,
    reference: ArrayLike,
    group: Sequence[Hashable],
    seed: int = 0,
    draws: int = _DRAWS,
) -> RankAgreement:
    """Correlate the ranks of two measurements of the same networks, by Kendall's tau-b.

    Larger values are better in both.

    Shape: values and reference (N,); group (N,), the budgets.

    Raises:
        AnalysisError: fewer than four networks.
    """
    x, y = np.asarray(values, dtype=float), np.asarray(reference, dtype=float)
    if len(x) < NETWORKS_NEEDED:
        raise AnalysisError(
            f"a rank correlation needs {NETWORKS_NEEDED} networks, and {len(x)} were measured; "
            "measure more"
        )
    rng = np.random.default_rng(seed)
    weights = np.vstack([np.ones(len(x)), rng.exponential(size=(draws, len(x)))])
    label, _ = label_groups(group)
    pairs = np.stack(np.triu_indices(len(x), k=1))
    same = label[pairs[0]] == label[pairs[1]]
    shuffled = np.stack([rng.permutation(len(x)) for _ in range(draws)])
    within = np.stack([_shuffle_within(label, rng=rng) for _ in range(draws)])

    def kendall(pairs: Ints, orders: Ints) -> RankCorrelation:
        rows = _kendall(x[None], y, pairs=pairs, weights=weights)
        null = _kendall(x[orders], y, pairs=pairs, weights=weights[:1])
        low, high = percentile_interval(rows[1:])
        # The observed order counts as one of the permutations, so that p is never zero.
        p_value = (1 + int((null >= rows[0] - 1e-12).sum())) / (1 + draws)
        return RankCorrelation(
            value=float(rows[0]), low=float(low), high=float(high), p_value=p_value
        )

    return RankAgreement(
        overall=kendall(pairs, shuffled),
        within=kendall(pairs[:, same], within) if same.any() else None,
    )


def estimate_variance_components(
    values: ArrayLike, *, group: Sequence[Hashable]
) -> VarianceComponents:
    """Estimate variance components by one-way analysis of variance within budgets.

    Shape: values (N, S), one row per network; group (N,).
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
            f"variance components need two networks of one budget and two seeds of each, and "
            f"there are {count} networks with {seeds} seed(s); measure more"
        )
    means = y.mean(axis=1)
    level = np.bincount(label, weights=means) / np.bincount(label)
    noise = float(((y - means[:, None]) ** 2).sum()) / (count * (seeds - 1))
    spread = seeds * float(((means - level[label]) ** 2).sum()) / int(between)
    ends = stats.f.ppf([0.975, 0.025], between, count * (seeds - 1))
    low, high = (_reliability(spread / end, noise=noise, seeds=seeds) for end in ends)
    return VarianceComponents(
        seed_sd=noise**0.5,
        network_sd=max(0.0, (spread - noise) / seeds) ** 0.5,
        reliability=_reliability(spread, noise=noise, seeds=seeds),
        low=low,
        high=high,
    )


def selection_regret(
    values: ArrayLike, *, reference: ArrayLike, group: Sequence[Hashable], best: int = 1
) -> float:
    """Return the loss of selecting networks by `values`, a mean over budgets.

    In each budget the `best` networks by `values` are compared by the reference; the regret is the
    reference's maximum less that of the selected.
    """
    x, y = np.asarray(values, dtype=float), np.asarray(reference, dtype=float)
    label, _ = label_groups(group)
    regrets = []
    for budget in range(label.max() + 1):
        measured, true = x[label == budget], y[label == budget]
        selected = np.argsort(-measured, kind="stable")[:best]
        regrets.append(true.max() - true[selected].max())
    return float(np.mean(regrets))


def _shuffle_within(label: Ints, *, rng: np.random.Generator) -> Ints:
    """Permute the networks within their budgets."""
    order = np.arange(len(label))
    for budget in range(label.max() + 1):
        order[label == budget] = rng.permutation(order[label == budget])
    return order


def _kendall(x: Floats, y: Floats, *, pairs: Ints, weights: Floats) -> Floats:
    """Return Kendall's tau-b with weighted pairs. Shape: x, weights (S or 1, N) to (S,)."""
    i, j = pairs
    over, under = np.sign(x[:, i] - x[:, j]), np.sign(y[i] - y[j])
    pair = weights[:, i] * weights[:, j]
    untied = np.sqrt((pair * (over != 0)).sum(axis=1) * (pair @ (under != 0)))
    concordance = (pair * over * under).sum(axis=1)
    tau: Floats = np.divide(concordance, untied, out=np.zeros_like(untied), where=untied > 0)
    return tau


def _reliability(spread: float, *, noise: float, seeds: int) -> float:
    total = spread + (seeds - 1) * noise
    return float(np.clip((spread - noise) / total, 0, 1)) if total > 0 else 0.0
