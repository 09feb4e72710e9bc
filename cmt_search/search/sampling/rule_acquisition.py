"""Acquisition for rule searches: the rule that shrinks the expected equivalence set most."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from optuna.trial import FrozenTrial

from cmt_search.errors import AnalysisError, BudgetError
from cmt_search.scaling.shares import Shares
from cmt_search.search.sampling.design import DesignPoint, params_of
from cmt_search.search.types import Space
from cmt_search.space.candidates import Candidate, Rung
from cmt_search.stats import (
    CREDIBLE,
    SMALLEST_EFFECT,
    GaussianProcess,
    fit_gaussian_process,
    rms_standard_error,
    simplex_grid,
)

Floats = NDArray[np.float64]
ShareValues = tuple[float, float, float]

_GRID = 12  # steps along a side of the triangle
_DRAWS = 1000  # of the posterior
_RESULTS = 48  # simulated of each choice
_TRIES = 24  # rules solved for one suggestion at most; most are feasible
_NEAR = 1e-6  # shares nearer than this are one rule


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleTrial:
    """A feasible trial of a rule search."""

    point: DesignPoint
    candidate: Candidate
    trial: FrozenTrial  # its state, and top1 by rung

    @property
    def shares(self) -> Shares:
        """The rule."""
        assert self.candidate.shares is not None, "a rule has shares"
        return self.candidate.shares

    @property
    def networks(self) -> tuple[str, ...]:
        """Keys of its networks."""
        return tuple(rung.arch.key for rung in self.candidate.rungs)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Choice:
    """A possible suggestion: a new rule, or one more seed of a rule that was tried."""

    point: DesignPoint
    shares: ShareValues  # realised at the largest budget; asked for where untried
    measured: int = 0  # number of measurements; 0: a new rule


def suggest_rule(
    space: Space,
    trials: Sequence[RuleTrial],
    *,
    infeasible: Sequence[ShareValues],
    name: str,
    seed: int,
) -> DesignPoint:
    """Choose the next rule, or one more seed of a rule; deterministic given the trials.

    `infeasible` are rules without networks, to keep away from.

    Raises:
        BudgetError: nothing was tried, and no rule of the grid is feasible.
    """
    tried = [trial.shares.values for trial in trials]
    rules = simplex_grid(_GRID)
    if tried and infeasible:
        rules = rules[_nearest(rules, tried) <= _nearest(rules, infeasible)]
    choices = [
        _Choice(point=DesignPoint(name=name, shares=shares, params={}), shares=shares.values)
        for shares in map(Shares.from_values, rules[_nearest(rules, tried) > _NEAR].tolist())
    ]
    choices += _repeats(trials)
    try:
        scores = _expected_sizes(choices, trials=trials, rules=rules, seed=seed)
    except AnalysisError:  # too few networks to fit the process
        scores = np.zeros(len(choices))
    # ties: the fewest measurements, then the largest distance to the rules tried
    gaps = _nearest([choice.shares for choice in choices], tried)
    measured = np.array([choice.measured for choice in choices])
    order = np.lexsort((-gaps.round(9), measured, scores.round(9)))
    return _first_new(space, [choices[i] for i in order], trials=trials)


def _repeats(trials: Sequence[RuleTrial]) -> list[_Choice]:
    """Return the next seed of every rule; rules with the same networks are one."""
    groups: dict[tuple[str, ...], list[RuleTrial]] = {}
    for trial in trials:
        groups.setdefault(trial.networks, []).append(trial)
    choices = []
    for same in groups.values():
        first, seeds = same[0], {trial.point.replicate for trial in same}
        point = DesignPoint(
            name=first.candidate.name,
            params=first.point.params,
            shares=first.shares,
            replicate=max(seeds) + 1,
        )
        realised = first.candidate.rungs[-1].realised or first.shares
        choices.append(_Choice(point=point, shares=realised.values, measured=len(seeds)))
    return choices


def _first_new(
    space: Space, choices: Sequence[_Choice], *, trials: Sequence[RuleTrial]
) -> DesignPoint:
    """Return the first choice that is feasible and needs a training."""
    tried = {trial.networks for trial in trials}
    analytic, tries = space.analytic_only(), 0
    for choice in choices:
        point = choice.point
        if choice.measured:
            return point
        if point.shares is None or tries == _TRIES:
            continue
        tries += 1
        point = replace(point, params=params_of(space, point.shares))
        try:
            rungs = analytic.candidate(point.params, point.name).rungs
        except BudgetError:
            continue
        if tuple(rung.arch.key for rung in rungs) not in tried:
            return point
    raise BudgetError("no rule of the grid is feasible; widen the knobs or the budgets")


def _expected_sizes(
    choices: Sequence[_Choice], *, trials: Sequence[RuleTrial], rules: Floats, seed: int
) -> Floats:
    """Return the expected size of the equivalence set after each choice."""
    process = _fit_to_trials(trials, seed=seed)
    noise, nugget = process.noise * process.model.relative_noise[-1], process.nugget
    variances = [
        repeat_variance(noise, nugget=nugget, measured=choice.measured)
        if choice.measured
        else noise**2 + nugget**2
        for choice in choices
    ]
    at = process.effect([choice.shares for choice in choices]) + process.levels[:, -1:]
    return expected_set_size(
        process.effect(rules),
        at=at,
        variances=np.stack(variances, axis=1),
        rng=np.random.default_rng(seed),
    )


def expected_set_size(
    effect: Floats, *, at: Floats, variances: Floats, rng: np.random.Generator
) -> Floats:
    """Return the expected part of the rules that stay in the equivalence set, for each choice.

    The margin is the smallest effect of interest (0.3 pp) or, if larger, the standard error of the
    contrasts: under a vague posterior each draw has its best rule in another corner, and a smaller
    margin would give a small set for lack of data.
    Shape: effect (S, G) of the rules; at (S, C), the accuracy that each choice measures; variances
    (S, C) of a measurement around it; result (C,).
    """
    margin = max(SMALLEST_EFFECT, rms_standard_error(effect - effect.mean(axis=1, keepdims=True)))
    close = (effect.max(axis=1, keepdims=True) - effect <= margin).astype(float)
    picks = rng.choice(len(effect), size=min(_RESULTS, len(effect)), replace=False)
    errors = rng.standard_normal(len(picks))  # the same for all choices, so that they compare
    sizes = np.empty(at.shape[1])
    for i in range(at.shape[1]):
        mean, variance = at[:, i], variances[:, i]
        results = mean[picks] + errors * np.sqrt(variance[picks])
        log = -0.5 * ((results[:, None] - mean) ** 2 / variance + np.log(variance))
        weights = np.exp(log - log.max(axis=1, keepdims=True))
        within = (weights @ close) / weights.sum(axis=1, keepdims=True)
        sizes[i] = (within >= CREDIBLE).mean()
    return sizes


def repeat_variance(noise: Floats, *, nugget: Floats, measured: int) -> Floats:
    """Return the variance of the measurement of a response that one more seed amounts to.

    The network deviates from the response by a nugget that seeds do not average out. The
    mean of n seeds has the variance tau^2 + sigma^2 / n; the next seed adds as much to its inverse
    as an independent measurement of the returned variance.
    Shape: noise sigma and nugget tau (S,) to (S,).
    """
    before, after = (nugget**2 + noise**2 / n for n in (measured, measured + 1))
    result: Floats = before * after / (noise**2 / (measured * (measured + 1)))
    return result


def _fit_to_trials(trials: Sequence[RuleTrial], *, seed: int) -> GaussianProcess:
    """Fit the process to all measurements, and to its own predictions of running trials.

    Rungs with the most epochs count; the others only lead to them.
    """
    measured: dict[tuple[str, int], tuple[Rung, float]] = {}  # trials may share a training
    running = []
    for trial in trials:
        rungs, values = trial.candidate.rungs, trial.trial.intermediate_values
        for i, rung in enumerate(rungs):
            is_full = rung.fidelity.epochs == rungs[-1].fidelity.epochs
            if not is_full or rung.log_macs_ratio is None or rung.realised is None:
                continue
            if i in values:
                measured.setdefault((rung.arch.key, trial.point.replicate), (rung, values[i]))
            elif not trial.trial.state.is_finished():
                running.append(rung)
    rows = list(measured.values())
    process = _fit(rows, seed=seed)
    predicted = [(rung, _predicted(process, rung)) for rung in running]
    return _fit([*rows, *predicted], seed=seed) if predicted else process


def _fit(rows: Sequence[tuple[Rung, float]], *, seed: int) -> GaussianProcess:
    return fit_gaussian_process(
        [value for _, value in rows],
        shares=[rung.realised.values for rung, _ in rows if rung.realised],
        log_macs_ratio=np.array([rung.log_macs_ratio for rung, _ in rows], dtype=float),
        budget=np.array([rung.budget for rung, _ in rows], dtype=float),
        network=[rung.arch.key for rung, _ in rows],
        seed=seed,
        draws=_DRAWS,
    )


def _predicted(process: GaussianProcess, rung: Rung) -> float:
    assert rung.realised is not None, "asked of networks with shares only"
    assert rung.log_macs_ratio is not None, "likewise"
    log_macs_ratio = float(
        np.clip(rung.log_macs_ratio, process.log_macs_ratios[0], process.log_macs_ratios[-1])
    )
    return float(process.draws(rung.realised.values, log_macs_ratio=log_macs_ratio).mean())


def _nearest(rules: ArrayLike, others: ArrayLike) -> Floats:
    """Return the distance of each rule to the nearest of the others; infinite without any."""
    these, those = (np.asarray(rows, float).reshape(-1, 3) for rows in (rules, others))
    if not len(those):
        return np.full(len(these), np.inf)
    apart: Floats = np.linalg.norm(these[:, None] - those[None], axis=2).min(axis=1)
    return apart
