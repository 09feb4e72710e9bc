"""Acquisition for rule searches: the rule that shrinks the expected equivalence set most."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from optuna.trial import FrozenTrial

from cmt_search.errors import AnalysisError, BudgetError
from cmt_search.scaling.shares import Shares
from cmt_search.search.sampling.design import Design, DesignPoint, params_of, point_key
from cmt_search.search.serialization import REPLICATE
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

_RESULTS = 48  # simulated of each choice


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


_GRID = 12  # steps along a side of the triangle
_DRAWS = 1000  # of the posterior
_TRIES = 24  # rules solved for one suggestion at most; most are feasible
_NEAR = 1e-6  # shares nearer than this are one rule

Row = tuple[Rung, float]  # a training and its top1


@dataclass(slots=True, kw_only=True)
class _Entry:
    """A feasible trial of the search."""

    point: DesignPoint
    shares: Shares  # asked for
    rungs: tuple[Rung, ...]
    values: dict[int, float] = field(default_factory=dict)  # top1 by rung
    running: bool = True

    @property
    def networks(self) -> tuple[str, ...]:
        return tuple(rung.arch.key for rung in self.rungs)

    def full(self) -> Iterator[tuple[int, Rung]]:
        """Yield the rungs with the most epochs; the others only lead to them."""
        longest = self.rungs[-1].fidelity.epochs
        for i, rung in enumerate(self.rungs):
            is_full = rung.fidelity.epochs == longest
            if is_full and rung.log_macs_ratio is not None and rung.realised is not None:
                yield i, rung


@dataclass(frozen=True, slots=True, kw_only=True)
class _Choice:
    """A possible suggestion."""

    point: DesignPoint
    shares: tuple[float, float, float]  # realised at the largest budget; asked for where untried
    measured: int  # number of measurements; 0: a new rule


class RuleAcquisition:
    """Suggests rules, and further seeds of rules, from the trials of a rule search."""

    def __init__(self, space: Space, *, design: Design) -> None:
        self._space = space
        self._grid = simplex_grid(_GRID)
        self._entries: dict[int, _Entry] = {}
        self._infeasible = [shares.values for shares in design.infeasible]
        self._known_shares = {
            point_key(p.params, replicate=0): p.shares for p in design.points if p.shares
        }
        for shares in map(Shares.from_values, self._grid.tolist()):
            self._known_shares.setdefault(point_key(params_of(space, shares), replicate=0), shares)

    def add(self, number: int, point: DesignPoint, *, candidate: Candidate | None) -> None:
        """Add a running trial; without a candidate, the rule is infeasible."""
        if candidate is None:
            shares = self._known_shares.get(point_key(point.params, replicate=0))
            self._infeasible += [shares.values] if shares else []
            return
        assert candidate.shares is not None, "a rule has shares"
        self._entries[number] = _Entry(
            point=replace(point, name=candidate.name, shares=candidate.shares),
            shares=candidate.shares,
            rungs=candidate.rungs,
        )

    def restore(self, trial: FrozenTrial, candidate: Candidate | None) -> None:
        """Add a trial of the study."""
        replicate = trial.user_attrs.get(REPLICATE, 0)
        point = DesignPoint(name="", params=trial.params, replicate=replicate)
        self.add(trial.number, point, candidate=candidate)
        if trial.number in self._entries:
            self._entries[trial.number].values.update(trial.intermediate_values)
            self._entries[trial.number].running = not trial.state.is_finished()

    def report(self, number: int, *, rung: int, value: float) -> None:
        """Take the top-1 accuracy of a trial at a rung."""
        self._entries[number].values[rung] = value

    def end(self, number: int) -> None:
        """Take the end of a trial."""
        if number in self._entries:
            self._entries[number].running = False

    def ask(self, number: int, *, seed: int) -> DesignPoint:
        """Choose the next rule, or a further seed of one; deterministic given the trials.

        Raises:
            BudgetError: nothing was tried, and no rule of the grid is feasible.
        """
        rules = self._open_rules()
        choices = [*self._untried(rules), *self._tried()]
        try:
            scores = self._scores(choices, rules=rules, seed=seed)
        except AnalysisError:  # too few networks to fit the process
            scores = np.zeros(len(choices))
        # ties: the fewest measurements, then the largest distance to the rules tried
        gaps = _nearest([choice.shares for choice in choices], self._tried_shares())
        order = sorted(
            range(len(choices)),
            key=lambda i: (
                round(float(scores[i]), 9),
                choices[i].measured,
                -round(float(gaps[i]), 9),
                i,
            ),
        )
        return self._first_new([choices[i] for i in order], name=f"gp {number}")

    # Choices.

    def _open_rules(self) -> Floats:
        """Return the rules of the grid that are nearer to a feasible than to an infeasible rule."""
        if not self._infeasible or not self._entries:
            return self._grid
        to_tried = _nearest(self._grid, self._tried_shares())
        return self._grid[to_tried <= _nearest(self._grid, self._infeasible)]

    def _untried(self, rules: Floats) -> list[_Choice]:
        new = rules[_nearest(rules, self._tried_shares()) > _NEAR]
        return [
            _Choice(
                point=DesignPoint(name="", shares=shares, params={}),
                shares=shares.values,
                measured=0,
            )
            for shares in map(Shares.from_values, new.tolist())
        ]

    def _tried(self) -> list[_Choice]:
        """Return the next seed of every rule; rules with the same networks are one."""
        groups: dict[tuple[str, ...], list[_Entry]] = {}
        for entry in self._entries.values():
            groups.setdefault(entry.networks, []).append(entry)
        choices = []
        for entries in groups.values():
            first, seeds = entries[0], {entry.point.replicate for entry in entries}
            point = replace(first.point, replicate=max(seeds) + 1)
            realised = first.rungs[-1].realised or first.shares
            choices.append(_Choice(point=point, shares=realised.values, measured=len(seeds)))
        return choices

    def _first_new(self, choices: list[_Choice], *, name: str) -> DesignPoint:
        """Return the first choice that is feasible and needs a training."""
        tried = {entry.networks for entry in self._entries.values()}
        counted, tries = self._space.analytic_only(), 0
        for choice in choices:
            shares = choice.point.shares
            if choice.measured:
                return choice.point
            if shares is None or tries == _TRIES:
                continue
            tries += 1
            params = dict(params_of(self._space, shares))
            try:
                rungs = counted.candidate(params, name).rungs
            except BudgetError:
                continue
            if tuple(rung.arch.key for rung in rungs) not in tried:
                return DesignPoint(name=name, shares=shares, params=params)
        raise BudgetError("no rule of the grid is feasible; widen the knobs or the budgets")

    def _tried_shares(self) -> list[tuple[float, float, float]]:
        return [entry.shares.values for entry in self._entries.values()]

    # Acquisition.

    def _scores(self, choices: list[_Choice], *, rules: Floats, seed: int) -> Floats:
        """Return the expected size of the equivalence set after each choice."""
        process = self._process(seed=seed)
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

    def _process(self, *, seed: int) -> GaussianProcess:
        """Fit the process to all measurements, and to its own predictions of running trials."""
        measured: dict[tuple[str, int], Row] = {}  # trials may share a training
        running = []
        for entry in self._entries.values():
            for i, rung in entry.full():
                if i in entry.values:
                    key = (rung.arch.key, entry.point.replicate)
                    measured.setdefault(key, (rung, entry.values[i]))
                elif entry.running:
                    running.append(rung)
        rows = list(measured.values())
        process = _fit(rows, seed=seed)
        predicted = [(rung, _predicted(process, rung)) for rung in running]
        return _fit([*rows, *predicted], seed=seed) if predicted else process


def _fit(rows: list[Row], *, seed: int) -> GaussianProcess:
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
