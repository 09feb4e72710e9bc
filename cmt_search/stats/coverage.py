"""How often the equivalence set holds the best rule, from studies simulated with the same design.

Two truths, each with the networks, repeats, noise and lattice effects of the fit:
    fit     a draw of the posterior, another for each study, so that its peaks are as high as they
            may be (its mean, shrunk, would be too flat)
    flat    no rule differs; noise and lattice effects are those of the same draws
Coverage is the probability that the set holds a rule drawn at random from the truth's best: the one
best rule of a draw, any rule at all of the flat truth, of which a noisy study excludes some by
chance. While either is below 0.90 the set is widened, by raising its eps: to the 90% quantile, over
the studies, of the eps with which the set would have held the best. The noise of the budgets
relative to each other is taken as known.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cmt_search.stats.equivalence import EPS, Assessment, Word, assess
from cmt_search.stats.gp import Process

Floats = NDArray[np.float64]
Ints = NDArray[np.int_]

NOMINAL = 0.90
_DRAWS = 600  # of each simulated study
_AT_ONCE = 20  # studies, to bound the memory


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """Empirical coverage of the equivalence set, and the eps that it takes."""

    fit: float  # where a draw of the posterior is the truth
    flat: float  # where no rule differs
    eps: float  # of the set so covering, top1
    asked: float  # eps before widening
    fit_asked: float  # coverage before widening
    flat_asked: float
    studies: int  # simulated for each truth
    fit_words: Mapping[Word, int]  # how often each came out, with the set as widened
    flat_words: Mapping[Word, int]

    @property
    def widened(self) -> bool:
        """Whether the set had to be widened."""
        return self.eps > self.asked


def empirical_coverage(
    process: Process,
    *,
    rules: ArrayLike,
    reference: ArrayLike,
    seed: int,
    eps: float = EPS,
    studies: int = 200,
) -> Coverage:
    """Simulate `studies` from the fit and from a flat truth, and fit each as this one was.

    `rules` are those that may be best, `reference` the one that others are compared with.

    Shape: rules (G, 3); reference (3,).
    """
    rng = np.random.default_rng(seed)
    shares = np.asarray(rules, float)
    judged = np.vstack([shares, np.asarray(reference, float)])
    row = rng.choice(len(process.noise), size=studies, replace=studies > len(process.noise))
    design = process.model.design
    truth = process.posterior.effect(design.shares, u=design.u)[row]
    best = process.effect(shares)[row].argmax(axis=1)
    fit = _assessed(process, truth=truth, row=row, judged=judged, eps=eps, rng=rng)
    flat = _assessed(process, truth=0 * truth, row=row, judged=judged, eps=eps, rng=rng)
    # The eps with which each simulated study's set would have held the truth's best.
    of_fit = np.array([one.needed[i] for one, i in zip(fit, best, strict=True)])
    of_flat = np.concatenate([one.needed for one in flat])
    reach = max(eps, _quantile(of_fit), _quantile(of_flat))
    return Coverage(
        fit=float(np.mean(of_fit <= reach)),
        flat=float(np.mean(of_flat <= reach)),
        eps=reach,
        asked=eps,
        fit_asked=float(np.mean(of_fit <= eps)),
        flat_asked=float(np.mean(of_flat <= eps)),
        studies=studies,
        fit_words=_words(fit, reach=reach),
        flat_words=_words(flat, reach=reach),
    )


def _quantile(needed: Floats) -> float:
    return float(np.quantile(needed, NOMINAL, method="higher"))


def _words(found: Sequence[Assessment], *, reach: float) -> dict[Word, int]:
    came = [replace(one, reach=reach).word for one in found]
    return {word: came.count(word) for word in get_args(Word)}


def _assessed(
    process: Process,
    *,
    truth: Floats,
    row: Ints,
    judged: Floats,
    eps: float,
    rng: np.random.Generator,
) -> list[Assessment]:
    """Simulate a study around each truth (R, n), with the noise of posterior draws `row` (R,)."""
    mean, within = _simulated(process, truth=truth, row=row, rng=rng)
    found = []
    for start in range(0, len(row), _AT_ONCE):
        some = slice(start, start + _AT_ONCE)
        draws = process.model.sample(mean[:, some], within=within[:, some], draws=_DRAWS, rng=rng)
        effect = draws.effect(judged, u=1.0).reshape(-1, _DRAWS, len(judged))
        found += [assess(one[:, :-1], reference=one[:, -1:], eps=eps) for one in effect]
    return found


def _simulated(
    process: Process, *, truth: Floats, row: Ints, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """Networks' means (n, R) and squares within them (B, R)."""
    design = process.model.design
    seeds = process.noise[row] * process.relative_noise[:, None]  # (B, R)
    spread = np.hypot(seeds[design.level] / np.sqrt(design.count)[:, None], process.lattice[row])
    mean = truth.T + spread * rng.standard_normal(spread.shape)
    squares = rng.chisquare(np.maximum(design.freedom, 1)[:, None], size=seeds.shape)
    return mean, seeds**2 * np.where(design.freedom[:, None] > 0, squares, 0.0)
