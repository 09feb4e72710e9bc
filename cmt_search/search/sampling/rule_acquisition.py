"""Acquisition for rule searches: the rule that shrinks the expected equivalence set most."""

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray
from optuna.trial import FrozenTrial

from cmt_search.errors import AnalysisError, BudgetError
from cmt_search.scaling.shares import Shares
from cmt_search.search.sampling.design import Design, DesignPoint, identity, params_within
from cmt_search.search.serialization import CANDIDATE, REPLICATE, read_candidate
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

_RESULTS = 48  # imagined of each choice


def expected_set_size(
    effect: Floats, *, at: Floats, variances: Floats, rng: np.random.Generator
) -> Floats:
    """The expected part of the rules that stay candidates for the best, after each choice.

    Rules are held equal within 0.3 points or, where that is more, the error of contrasts so far: a
    vague posterior has its best rule in another corner in each draw, so that within less hardly any
    rule would ever be near the best, and the set would be small for want of data.
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
    """The variance with which a rule's response is seen by one more seed of a known network.

    The network deviates from the response by a nugget that seeds do not average out. The
    mean of n seeds sees the response with variance tau^2 + sigma^2 / n; what the next seed adds to
    its inverse is as much as an independent measurement of this variance would.
    Shape: noise sigma and nugget tau (S,) to (S,).
    """
    before, after = (nugget**2 + noise**2 / n for n in (measured, measured + 1))
    result: Floats = before * after / (noise**2 / (measured * (measured + 1)))
    return result


_GRID = 12  # steps along a side of the triangle
_DRAWS = 1000  # of the posterior
_TRIES = 24  # rules solved for one ask at most; most are feasible
_NEAR = 1e-6  # shares nearer than this are one rule

Row = tuple[Rung, float]  # what was measured: where, and the top1


@dataclass(slots=True, kw_only=True)
class _Entry:
    """A trial of the search that has its networks."""

    params: Mapping[str, float | int]
    shares: Shares  # asked for
    name: str
    replicate: int
    rungs: tuple[Rung, ...]
    values: dict[int, float] = field(default_factory=dict)  # top1 by rung
    running: bool = True

    @property
    def networks(self) -> tuple[str, ...]:
        return tuple(rung.arch.key for rung in self.rungs)

    def full(self) -> Iterable[tuple[int, Rung]]:
        """The rungs that are trained for longest, which the others only lead to."""
        longest = self.rungs[-1].fidelity.epochs
        return ((i, r) for i, r in enumerate(self.rungs) if r.fidelity.epochs == longest)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Choice:
    """What could be asked for."""

    point: DesignPoint
    shares: tuple[float, float, float]  # realised at the largest budget; asked for where untried
    measured: int  # times; 0: a rule that was not tried


class RuleAcquisition:
    """Chooses rules and further seeds of them, from all that a search has entered and reported."""

    def __init__(self, space: Space, *, design: Design) -> None:
        self._space = space
        self._grid = simplex_grid(_GRID)
        self._entries: dict[int, _Entry] = {}
        self._refused = [shares.values for shares in design.beyond]
        self._known_shares = {_key(p.params): p.shares for p in design.points if p.shares}
        for row in self._grid:
            self._known_shares.setdefault(_key(self._params(_shares(row))), _shares(row))

    def enter(
        self,
        number: int,
        *,
        params: Mapping[str, float | int],
        replicate: int,
        candidate: Candidate | None,
    ) -> None:
        """Take in what was asked for; None: no network met the budgets."""
        if candidate is None:
            shares = self._known_shares.get(_key(params))
            self._refused += [shares.values] if shares else []
            return
        assert candidate.shares is not None, "a rule has shares"
        self._entries[number] = _Entry(
            params=dict(params),
            shares=candidate.shares,
            name=candidate.name,
            replicate=replicate,
            rungs=candidate.rungs,
        )

    def take_over(self, trial: FrozenTrial) -> None:
        """Take in a trial that the study holds."""
        known = trial.user_attrs
        candidate = read_candidate(known) if CANDIDATE in known else None
        replicate = known.get(REPLICATE, 0)
        self.enter(trial.number, params=trial.params, replicate=replicate, candidate=candidate)
        if trial.number in self._entries:
            self._entries[trial.number].values.update(trial.intermediate_values)
            self._entries[trial.number].running = not trial.state.is_finished()

    def report(self, number: int, *, rung: int, value: float) -> None:
        """What a trial measured at a rung."""
        self._entries[number].values[rung] = value

    def end(self, number: int) -> None:
        """A trial measures no more."""
        if number in self._entries:
            self._entries[number].running = False

    def ask(self, number: int, *, seed: int) -> DesignPoint:
        """The next rule, or the next seed of one; the same from the same study.

        Raises:
            BudgetError: nothing was entered, and no rule of the grid has its networks.
        """
        rules = self._open_rules()
        choices = [*self._untried(rules), *self._tried()]
        try:
            scores = self._scores(choices, rules=rules, seed=seed)
        except AnalysisError:  # too few networks for a model
            scores = np.zeros(len(choices))
        # of equals the rule farthest from all that were tried, then the one measured least
        gaps = _nearest([one.shares for one in choices], self._tried_shares())
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

    # What could be asked for.

    def _open_rules(self) -> Floats:
        """The rules of the grid that are nearer to one with networks than to one without."""
        if not self._refused or not self._entries:
            return self._grid
        to_tried = _nearest(self._grid, self._tried_shares())
        return self._grid[to_tried <= _nearest(self._grid, self._refused)]

    def _untried(self, rules: Floats) -> list[_Choice]:
        new = rules[_nearest(rules, self._tried_shares()) > _NEAR]
        points = [DesignPoint(name="", shares=_shares(row), params={}) for row in new]
        return [
            _Choice(point=point, shares=point.shares.values, measured=0)
            for point in points
            if point.shares
        ]

    def _tried(self) -> list[_Choice]:
        """The next seed of every rule; rules of the same networks are one."""
        groups: dict[tuple[str, ...], list[_Entry]] = {}
        for entry in self._entries.values():
            groups.setdefault(entry.networks, []).append(entry)
        found = []
        for entries in groups.values():
            first, seeds = entries[0], {entry.replicate for entry in entries}
            last = first.rungs[-1]
            point = DesignPoint(
                name=first.name,
                shares=first.shares,
                params=dict(first.params),
                replicate=max(seeds) + 1,
            )
            realised = (last.realised or first.shares).values
            found.append(_Choice(point=point, shares=realised, measured=len(seeds)))
        return found

    def _first_new(self, choices: list[_Choice], *, name: str) -> DesignPoint:
        """The first that has its networks and would be trained, not answered from the study."""
        known, counted = (
            {entry.networks for entry in self._entries.values()},
            self._space.analytic_only(),
        )
        tries = 0
        for choice in choices:
            shares = choice.point.shares
            if choice.measured:
                return choice.point
            if shares is None or tries == _TRIES:
                continue
            tries += 1
            params = self._params(shares)
            try:
                rungs = counted.candidate(params, name).rungs
            except BudgetError:
                continue
            if tuple(rung.arch.key for rung in rungs) not in known:
                return DesignPoint(name=name, shares=shares, params=params)
        raise BudgetError("no rule of the grid has its networks; widen the knobs or the budgets")

    def _params(self, shares: Shares) -> dict[str, float | int]:
        return dict(params_within(self._space, shares))

    def _tried_shares(self) -> list[tuple[float, float, float]]:
        return [entry.shares.values for entry in self._entries.values()]

    # What would be gained.

    def _scores(self, choices: list[_Choice], *, rules: Floats, seed: int) -> Floats:
        """The expected part of the rules in the equivalence set, after each choice."""
        process = self._process(seed=seed)
        noise, nugget = process.noise * process.relative_noise[-1], process.nugget
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
        """The process of all that was measured, and of what it predicts of what runs."""
        rows = _measured(self._entries.values())
        fitted = _fit(rows, seed=seed)
        lies = [
            (rung, _predicted(fitted, rung))
            for entry in self._entries.values()
            if entry.running
            for i, rung in entry.full()
            if i not in entry.values and rung.growth is not None and rung.realised is not None
        ]
        return _fit([*rows, *lies], seed=seed) if lies else fitted


def _measured(entries: Iterable[_Entry]) -> list[Row]:
    """The trainings of a study, each once however many trials it answered."""
    found: dict[tuple[str, int], Row] = {}
    for entry in entries:
        for i, rung in entry.full():
            if i in entry.values and rung.growth is not None and rung.realised is not None:
                key = (rung.arch.key, entry.replicate)
                found.setdefault(key, (rung, entry.values[i]))
    return list(found.values())


def _fit(rows: list[Row], *, seed: int) -> GaussianProcess:
    return fit_gaussian_process(
        [value for _, value in rows],
        shares=[rung.realised.values for rung, _ in rows if rung.realised],
        growth=np.array([rung.growth for rung, _ in rows], dtype=float),
        budget=np.array([rung.budget for rung, _ in rows], dtype=float),
        network=[rung.arch.key for rung, _ in rows],
        seed=seed,
        draws=_DRAWS,
    )


def _predicted(process: GaussianProcess, rung: Rung) -> float:
    assert rung.realised is not None, "asked of networks with shares only"
    assert rung.growth is not None, "likewise"
    growth = float(np.clip(rung.growth, process.growths[0], process.growths[-1]))
    return float(process.draws(rung.realised.values, growth=growth).mean())


def _nearest(rules: ArrayLike, others: ArrayLike) -> Floats:
    """The distance of each rule to the nearest of the others; infinite where there are none."""
    these, those = (np.asarray(one, float).reshape(-1, 3) for one in (rules, others))
    if not len(those):
        return np.full(len(these), np.inf)
    apart: Floats = np.linalg.norm(these[:, None] - those[None], axis=2).min(axis=1)
    return apart


def _shares(row: Floats) -> Shares:
    depth, width, side = (float(value) for value in row)
    return Shares(depth=depth, width=width, resolution=side)


def _key(params: Mapping[str, float | int]) -> Hashable:
    return identity(params, replicate=0)
