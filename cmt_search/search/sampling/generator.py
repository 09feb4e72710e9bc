"""Candidate generation: the design or initial points first, then the sampler."""

import hashlib
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState

from cmt_search.errors import BudgetError
from cmt_search.scaling.shares import Shares
from cmt_search.search.sampling.design import Design, DesignPoint, make_design, point_key
from cmt_search.search.sampling.optuna_samplers import TrialGroup, check_packages, make_sampler
from cmt_search.search.sampling.rule_acquisition import RuleTrial, suggest_rule
from cmt_search.search.sampling.sobol import (
    feasible_networks,
    grid_params,
    grid_size,
    group_params,
    initial_points,
    n_initial_points,
    sobol_point,
)
from cmt_search.search.serialization import INFEASIBLE, REPLICATE, RETRY_OF
from cmt_search.search.storage import directions
from cmt_search.search.types import Space
from cmt_search.space.candidates import SAMPLERS, Candidate, Parameter, Params

_MAX_INFEASIBLE = 100  # suggestions of a group in a row, before it gets no more
# For samplers: unlike failed trials, those that were pruned without a value count as bad.
_INFEASIBLE_STATE = TrialState.PRUNED
_SOBOL_INDEX = "sobol_index"
_SHARES = "shares"  # of an infeasible rule


@dataclass(frozen=True, slots=True, kw_only=True)
class Suggestion(DesignPoint):
    """The point of the next trial, and its candidate."""

    number: int
    candidate: Candidate | None  # None: infeasible
    reason: str | None = None  # of infeasibility
    attributes: dict[str, Any] = field(default_factory=dict)  # the sampler's, of the trial


class CandidateGenerator:
    """Suggests candidates: those of the design first, then those of the sampler.

    The seed of a suggestion depends on the run and on the number of suggestions alone, so that a
    resumed search continues as if it had not been interrupted. Groups (the budgets of a shape
    search) have separate histories and take turns, since values compare within a group only.
    """

    def __init__(self, space: Space, *, design: Design | None = None) -> None:
        self._space, self._sampler = space, space.sampler.name
        self._parameters = space.parameters()
        self.distributions = distributions(self._parameters)
        if design is None:
            design = make_design(space)
            design = replace(design, points=(*design.points, *initial_points(space)))
        self.design = design
        self.design_size = len(design.points) if space.kind in ("rule", "list") else 0
        self._queue = deque(design.points)
        self._is_guided = space.kind == "rule" and self._sampler == "gp"
        self._uses_optuna = not self._is_guided and SAMPLERS[self._sampler].is_optuna
        if self._uses_optuna:
            check_packages(self._sampler)
        self._groups = [
            TrialGroup(
                params, directions=directions(space.objectives), distributions=self.distributions
            )
            for params in group_params(self._parameters)
        ]
        self._places: list[tuple[TrialGroup, int]] = []  # group and index there, by trial number
        self._n_retries = 0
        self._suggested: list[tuple[DesignPoint, Candidate | None]] = []  # of a guided search

    def restore(self, trials: Iterable[tuple[FrozenTrial, Candidate | None]]) -> None:
        """Take the trials of the study, with their candidates, in the order of their numbers."""
        seen = set()
        for trial, candidate in trials:
            attributes, group = trial.user_attrs, self._group_of(trial.params)
            is_infeasible = INFEASIBLE in attributes
            state = _INFEASIBLE_STATE if is_infeasible else trial.state
            self._places.append((group, group.restore(trial, state=state)))
            self._n_retries += RETRY_OF in attributes
            group.count(is_feasible=not is_infeasible)
            if _SOBOL_INDEX in attributes:
                group.sobol_index = attributes[_SOBOL_INDEX] + 1
            replicate, shares = attributes.get(REPLICATE, 0), attributes.get(_SHARES)
            point = DesignPoint(
                name="",
                params=trial.params,
                replicate=replicate,
                shares=Shares.from_values(shares) if shares else None,
            )
            self._note(point, candidate)
            seen.add(point_key(trial.params, replicate=replicate))
        points = self._queue
        self._queue = deque(
            p for p in points if point_key(p.params, replicate=p.replicate) not in seen
        )

    @property
    def n_left(self) -> int | None:
        """Number of candidates left; None: unlimited."""
        if self._sampler == "grid":
            return max(0, grid_size(self._parameters) - self._n_suggested)
        if self._sampler == "design" or not any(map(_is_open, self._groups)):
            return len(self._queue)
        return None

    @property
    def is_predetermined(self) -> bool:
        """Whether the next candidate does not depend on results."""
        return bool(self._queue) or not SAMPLERS[self._sampler].is_optuna

    def ask(self) -> Suggestion:
        """Suggest the candidate of the next trial."""
        number = len(self._places)
        point, attributes = self._next_point(number)
        candidate, reason = None, None
        try:
            candidate = self._space.candidate(point.params, point.name)
        except BudgetError as error:
            reason = f"infeasible: {error}"
        self._places[number][0].count(is_feasible=candidate is not None)
        if candidate is None:
            self.tell(number, state=_INFEASIBLE_STATE, values=None)
            attributes |= {_SHARES: point.shares.values} if point.shares else {}
        self._note(point, candidate)
        return Suggestion(
            number=number,
            params=dict(point.params),
            name=point.name,
            replicate=point.replicate,
            candidate=candidate,
            reason=reason,
            attributes=attributes,
        )

    def report(self, number: int, *, rung: int, value: float) -> None:
        """Take the value of a single objective at a rung."""
        group, index = self._places[number]
        group.report(index, rung=rung, value=value)

    def tell(self, number: int, *, state: TrialState, values: Sequence[float] | None) -> None:
        """Take the end of a trial."""
        group, index = self._places[number]
        group.tell(index, state=state, values=values)

    def why_no_more(self) -> str:
        """Explain why there are fewer candidates than trials."""
        if self._sampler == "design":
            return (
                f"the design has {self.design_size} trials; for more, raise sampler.lattice or "
                "sampler.replicates, or set sampler.name to gp"
            )
        if self._sampler == "grid":
            size = grid_size(self._parameters)
            return f"the grid has {size} points; use finer steps, or another sampler"
        return (
            f"{_MAX_INFEASIBLE} suggestions in a row were infeasible; widen the ranges or the "
            "budgets of the space"
        )

    @property
    def _n_suggested(self) -> int:
        return len(self._places) - self._n_retries

    def _seed(self) -> int:
        digest = hashlib.sha256(f"{self._space.seed}:{self._n_suggested}".encode()).digest()
        return int.from_bytes(digest[:4], "big")

    def _note(self, point: DesignPoint, candidate: Candidate | None) -> None:
        if self._is_guided:
            self._suggested.append((point, candidate))

    def _next_point(self, number: int) -> tuple[DesignPoint, dict[str, Any]]:
        """Return the next point and its attributes; add it to its group."""
        queued = self._queue.popleft() if self._queue else None
        name, attributes = f"{self._sampler} {number}", dict[str, Any]()
        if self._uses_optuna:  # which learns its state from queued points, too
            group = self._group_of(queued.params) if queued else self._next_group()
            sampler = make_sampler(
                self._sampler,
                seed=self._seed(),
                n_initial=-(-n_initial_points(self._space) // len(self._groups)),
            )
            index, params, attributes = group.ask(sampler, params=queued.params if queued else None)
            self._places.append((group, index))
            return queued or DesignPoint(name=name, params=params), attributes
        if queued:
            point = queued
        elif self._is_guided:
            point = self._next_rule(name)
        elif self._sampler == "grid":
            params = grid_params(self._parameters, index=self._n_suggested, seed=self._space.seed)
            point = DesignPoint(name=name, params=params)
        else:
            point, attributes = self._next_sobol_point()
        group = self._group_of(point.params)
        self._places.append((group, group.add(point.params)))
        return point, attributes

    def _next_rule(self, name: str) -> DesignPoint:
        trials, infeasible = [], [shares.values for shares in self.design.infeasible]
        pairs = zip(self._suggested, self._groups[0].trials, strict=True)
        for (point, candidate), trial in pairs:
            if candidate is not None:
                trials.append(RuleTrial(point=point, candidate=candidate, trial=trial))
            elif point.shares is not None:
                infeasible.append(point.shares.values)
        return suggest_rule(
            self._space, trials, infeasible=infeasible, name=name, seed=self._seed()
        )

    def _next_sobol_point(self) -> tuple[DesignPoint, dict[str, Any]]:
        """Return the next point of the sequence that is feasible, if there is one soon."""
        group = self._next_group()
        for _ in range(_MAX_INFEASIBLE):
            index = group.sobol_index
            group.sobol_index += 1
            if any(feasible_networks(self._space, fixed=group.params, indices=(index,))):
                break
        point = sobol_point(self._space, fixed=group.params, index=index)
        return point, {_SOBOL_INDEX: index}

    def _next_group(self) -> TrialGroup:
        """Return the open group with the fewest feasible trials, the first of equals."""
        groups = list(filter(_is_open, self._groups)) or self._groups
        return min(groups, key=lambda group: group.n_feasible)

    def _group_of(self, params: Params) -> TrialGroup:
        """Return the group of a trial; one without parameters is another program's."""
        of_group = (g for g in self._groups if g.params.items() <= params.items())
        return next(of_group, self._groups[0])


def _is_open(group: TrialGroup) -> bool:
    return group.n_infeasible_in_a_row < _MAX_INFEASIBLE


def distributions(parameters: Iterable[Parameter]) -> dict[str, BaseDistribution]:
    """Return Optuna's distributions of the parameters."""
    return {
        p.name: IntDistribution(int(p.low), int(p.high), log=p.log, step=int(p.step or 1))
        if p.integer
        else FloatDistribution(p.low, p.high, log=p.log, step=p.step)
        for p in parameters
    }


def preview_candidates(space: Space, *, most: int | None = None) -> Iterator[Suggestion]:
    """Yield the first suggestions, in the order of their trials, as long as results do not matter.

    An infeasible one counts as a trial in a design only.
    """
    from optuna.logging import WARNING, set_verbosity

    set_verbosity(WARNING)
    generator, n_trials = CandidateGenerator(space), 0
    while (
        generator.is_predetermined and generator.n_left != 0 and (most is None or n_trials < most)
    ):
        suggestion = generator.ask()
        n_trials += suggestion.candidate is not None or space.sampler.name == "design"
        yield suggestion
