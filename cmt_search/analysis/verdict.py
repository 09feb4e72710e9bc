"""Verdict of a rule search: the best rule against the paper's, and how certain it is.

The winner's own measurement is optimistically biased and is not used as its score. The reported
difference is the posterior's, to which all networks of the study contribute and which shrinks
similar rules together. Its interval is simultaneous over all rules, so it holds for a selected one.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cmt_search.analysis.frame import REALISED, trainings
from cmt_search.errors import AnalysisError
from cmt_search.scaling.shares import Shares
from cmt_search.stats import (
    SMALLEST_EFFECT,
    Conclusion,
    Contrast,
    Coverage,
    GaussianProcess,
    GradientTest,
    Noise,
    assess,
    equivalence_set,
    fit_gaussian_process,
    pooled_noise,
    simplex_grid,
    simulate_coverage,
    simultaneous_contrasts,
)

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

GRID = 30  # steps along a side of the triangle
CLEAR_SLOPE = 4.0  # standard errors of a slope that a difference may be divided by
CORNER = 0.9  # a share from which on a rule is called a corner


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleComparison:
    """A named rule at one budget, less the paper's rule there, in top1."""

    name: str
    budget: float  # MACs
    predicted: Contrast  # interval simultaneous over the triangle
    top1: float | None  # measured mean over seeds; None: not measured
    measurements: int
    measured: float | None  # difference of the measured means


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Triangle:
    """The surface at the largest budget, on a grid of rules."""

    shares: Floats  # (G, 3)
    difference: Floats  # (G,) predicted, to the paper's rule, top1
    se: Floats  # (G,) of that
    feasible: Bools  # (G,) within the data's native resolution
    equivalent: Bools  # (G,) feasible, and statistically tied with the best


@dataclass(frozen=True, slots=True, kw_only=True)
class ComputeMultiplier:
    """The MACs that the paper's rule would need to reach the best rule, as a factor.

    It is exp(difference / slope), with the paper's mean slope in ln MACs between the two
    largest budgets, so its interval excludes 1 exactly where that of the difference excludes 0.
    """

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleVerdict:
    """The answer of a rule search, at its largest budget."""

    status: Conclusion
    best: Shares  # highest predicted accuracy among the feasible rules
    nearest: str  # the named rule nearest to it
    nearest_distance: float  # between their shares
    difference: Contrast  # best less the paper's rule, top1; simultaneous interval
    better_named: tuple[str, ...]  # named rules whose interval is above the paper's rule
    error: float  # standard error of contrasts: over the triangle, or the best's where larger
    detectable: float  # difference that a study of this error finds with power 80%
    tied_fraction: float  # of the feasible triangle, in the equivalence set
    margin: float  # of that set, top1: above 0.3 points where its simulated coverage requires it
    simulated: Coverage | None  # None: not simulated
    paper_equivalent: bool  # the paper's rule is in the equivalence set
    gradient_test: GradientTest | None  # None: needs two budgets
    noise: Noise | None  # between seeds; None: nothing was repeated
    budget: float  # MACs, the largest
    multiplier: ComputeMultiplier | None = None  # of `difference`; None: the data do not allow it
    trials: int  # with a measurement
    networks: int  # distinct, in the fit

    @property
    def interval(self) -> tuple[float, float]:
        """The 95% interval of `difference`, in top1."""
        return self.difference.low, self.difference.high

    @property
    def beats_paper(self) -> bool:
        """Whether the interval of the difference is above zero."""
        return self.difference.low > 0

    @property
    def base_unbalanced(self) -> bool:
        """Whether the base gains more from one dimension: correct it before scaling it."""
        return self.gradient_test is not None and self.gradient_test.unbalanced

    @property
    def corner(self) -> bool:
        """Whether the best rule grows one dimension (nearly) alone."""
        return max(self.best.values) >= CORNER


def seed_noise(frame: pd.DataFrame) -> Noise | None:
    """Noise of top1 between the seeds of one network, pooled over all networks."""
    rows = trainings(frame)
    return pooled_noise(rows["top1"].to_numpy(), groups=rows["key"].tolist())


def rule_surface(frame: pd.DataFrame, *, base_macs: float, seed: int) -> GaussianProcess:
    """The response over the triangle from all full-fidelity trainings of a rule search.

    Raises:
        AnalysisError: the study holds too few networks with realised shares.
    """
    rows = trainings(frame).dropna(subset=[*REALISED, "budget"])
    macs = rows["macs"].to_numpy(dtype=float)
    return fit_gaussian_process(
        rows["top1"].to_numpy(),
        shares=rows[REALISED].to_numpy(),
        log_macs_ratio=np.log(macs / base_macs),
        budget=rows["budget"].to_numpy(),
        network=rows["key"].tolist(),
        seed=seed,
    )


def feasible_rules(
    *, native_resolution: int | None = None, sides: Callable[[Floats], Floats] | None = None
) -> Bools:
    """Which rules of the grid may be best: those within the data's native resolution.

    Raises:
        AnalysisError: none is.
    """
    grid = simplex_grid(GRID)
    if native_resolution is None or sides is None:
        return np.ones(len(grid), dtype=bool)
    feasible: Bools = sides(grid) <= native_resolution
    if not feasible.any():
        raise AnalysisError(
            f"every rule exceeds the data's native resolution of {native_resolution} px at the "
            "largest budget; start from a base of lower resolution, or use a smaller budget"
        )
    return feasible


def compute_verdict(
    surface: GaussianProcess,
    *,
    frame: pd.DataFrame,
    paper: Shares,
    named: Mapping[str, Shares],
    feasible: Bools,
    n_simulations: int = 0,
    seed: int = 0,
) -> tuple[RuleVerdict, Triangle]:
    """Compare all rules with the paper's at the largest budget; `feasible` as `feasible_rules`.

    With `n_simulations` the margin of the equivalence set is calibrated by that many simulated
    studies per truth.
    """
    grid = simplex_grid(GRID)
    simulated = None
    if n_simulations:
        rules = grid[feasible & subgrid_mask(grid, every=2)]
        simulated = simulate_coverage(surface, rules=rules, seed=seed, n_simulations=n_simulations)
    effect, at_paper = surface.effect(grid[feasible]), surface.effect(paper.values)
    margin = simulated.margin if simulated else SMALLEST_EFFECT
    assessment = assess(effect, reference=at_paper, margin=margin)
    with_paper = equivalence_set(np.hstack([effect, at_paper]), margin=assessment.margin)
    best_index = int(np.flatnonzero(feasible)[assessment.best])
    best = _shares(grid[best_index])
    to_paper = _differences_to_paper(surface, paper=paper, named=named)
    *contrasts, difference = simultaneous_contrasts(
        to_paper, indices=[*range(len(named)), len(named) + best_index]
    )
    nearest, distance = _nearest(best, named=named)
    verdict = RuleVerdict(
        status=assessment.status,
        best=best,
        nearest=nearest,
        nearest_distance=distance,
        difference=difference,
        better_named=tuple(n for n, c in zip(named, contrasts, strict=True) if c.low > 0),
        error=assessment.error,
        detectable=assessment.detectable,
        tied_fraction=assessment.area,
        margin=assessment.margin,
        simulated=simulated,
        paper_equivalent=bool(with_paper[-1]),
        gradient_test=_gradient_test(surface),
        noise=seed_noise(frame),
        budget=float(surface.budgets[-1]),
        multiplier=_compute_multiplier(surface, paper=paper, difference=difference),
        trials=int(frame.loc[frame["top1"].notna(), "trial"].nunique()),
        networks=len(surface.model.design.count),
    )
    equivalent = np.zeros(len(grid), dtype=bool)
    equivalent[feasible] = assessment.equivalent
    return verdict, _triangle(to_paper[:, len(named) :], feasible=feasible, equivalent=equivalent)


def _triangle(to_paper: Floats, *, feasible: Bools, equivalent: Bools) -> Triangle:
    return Triangle(
        shares=simplex_grid(GRID),
        difference=to_paper.mean(axis=0),
        se=to_paper.std(axis=0),
        feasible=feasible,
        equivalent=equivalent,
    )


def subgrid_mask(grid: Floats, *, every: int) -> Bools:
    """Select the rules on every `every`-th step of the grid. Shape: (G, 3) to (G,)."""
    on_step: Bools = (np.rint(grid * GRID) % every == 0).all(axis=1)
    return on_step


def _compute_multiplier(
    surface: GaussianProcess, *, paper: Shares, difference: Contrast
) -> ComputeMultiplier | None:
    """Convert a difference of top1; None without two budgets, a clear slope, or within the span."""
    if len(surface.budgets) < 2:
        return None
    before, last = surface.log_macs_ratios[-2:].tolist()
    upper = surface.draws(paper.values, log_macs_ratio=last)[:, 0]
    lower = surface.draws(paper.values, log_macs_ratio=before)[:, 0]
    slope = float((upper - lower).mean()) / (last - before)
    if slope <= CLEAR_SLOPE * float((upper - lower).std()) / (last - before):
        return None
    span = last - float(surface.log_macs_ratios[0])
    logs = [value / slope for value in (difference.mean, difference.low, difference.high)]
    if abs(logs[0]) > span:
        return None
    value, low, high = (float(factor) for factor in np.exp(logs))
    return ComputeMultiplier(value=value, low=low, high=high)


def _gradient_test(surface: GaussianProcess) -> GradientTest | None:
    if len(surface.budgets) == 1:
        return None
    gains, _ = surface.derivatives()
    return GradientTest.from_draws(gains, log_macs_ratio=float(surface.log_macs_ratios[-1]))


def _differences_to_paper(
    surface: GaussianProcess,
    *,
    paper: Shares,
    named: Mapping[str, Shares],
    log_macs_ratio: float | None = None,
) -> Floats:
    """Draw differences to the paper's rule: of the named rules, then of the grid.

    All intervals of one budget come from these columns, so that a rule has one interval.
    """
    shares = np.vstack([*(rule.values for rule in named.values()), simplex_grid(GRID)])
    difference: Floats = surface.effect(shares, log_macs_ratio=log_macs_ratio) - surface.effect(
        paper.values, log_macs_ratio=log_macs_ratio
    )
    return difference


def compare_named_rules(
    surface: GaussianProcess, *, frame: pd.DataFrame, paper: Shares, named: Mapping[str, Shares]
) -> tuple[RuleComparison, ...]:
    """Compare every named rule at every budget: predictions and measurements.

    Intervals are simultaneous over the triangle and the named rules, as the best rule's is.
    """
    rows = frame[frame["full_fidelity"].fillna(False) & frame["top1"].notna()]
    rows = rows.drop_duplicates(["name", "key", "seed"])
    means = rows.groupby(["name", "budget"])["top1"].agg(["mean", "size"])
    measured = {key: (float(row["mean"]), int(row["size"])) for key, row in means.iterrows()}
    paper_name = next((name for name, shares in named.items() if shares == paper), "cmt-paper")
    against = []
    for budget, log_macs_ratio in zip(
        surface.budgets.tolist(), surface.log_macs_ratios.tolist(), strict=True
    ):
        to_paper = _differences_to_paper(
            surface, paper=paper, named=named, log_macs_ratio=log_macs_ratio
        )
        predicted = simultaneous_contrasts(to_paper, indices=range(len(named)))
        papers = measured.get((paper_name, budget))
        for name, difference in zip(named, predicted, strict=True):
            own = measured.get((name, budget))
            against.append(
                RuleComparison(
                    name=name,
                    budget=budget,
                    predicted=difference,
                    top1=own[0] if own else None,
                    measurements=own[1] if own else 0,
                    measured=own[0] - papers[0] if own and papers else None,
                )
            )
    return tuple(against)


def _shares(row: Floats) -> Shares:
    d, w, r = (float(value) for value in row)
    return Shares(depth=d, width=w, resolution=r)


def _nearest(best: Shares, *, named: Mapping[str, Shares]) -> tuple[str, float]:
    here = np.array(best.values)
    distances = {
        name: float(np.linalg.norm(here - shares.values)) for name, shares in named.items()
    }
    name = min(distances, key=distances.__getitem__)
    return name, distances[name]
