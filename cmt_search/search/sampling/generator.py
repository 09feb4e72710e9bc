"""Candidate generation: the design or initial points first, then the sampler."""

import hashlib
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState

from cmt_search.errors import BudgetError
from cmt_search.search.sampling.design import Design, DesignPoint, make_design, point_key
from cmt_search.search.sampling.optuna_samplers import SamplerStudy, make_sampler
from cmt_search.search.sampling.rule_acquisition import RuleAcquisition
from cmt_search.search.sampling.sobol import (
    grid_params,
    grid_size,
    has_networks,
    initial_points,
    n_initial_points,
    sobol_params,
)
from cmt_search.search.serialization import INFEASIBLE, REPLICATE, RETRY_OF
from cmt_search.search.storage import directions
from cmt_search.search.types import Space
from cmt_search.space.candidates import SAMPLERS, Candidate, Parameter

_MAX_INFEASIBLE = 100  # suggestions of a group in a row, before it gets no more
# For samplers: unlike failed trials, those that were pruned without a value count as bad.
_INFEASIBLE_STATE = TrialState.PRUNED
_SOBOL_INDEX = "sobol_index"

Params = Mapping[str, float | int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Suggestion(DesignPoint):
    """The point of the next trial, and its candidate."""

    number: int
    candidate: Candidate | None  # None: infeasible
    reason: str | None = None  # of infeasibility
    attributes: dict[str, Any] = field(default_factory=dict)  # the sampler's, of the trial


@dataclass(slots=True, kw_only=True)
class _Group:
    """Trials whose values compare: of one budget in a shape search, else all."""

    params: dict[str, float | int]  # common to its trials
    study: SamplerStudy
    n_feasible: int = 0
    n_infeasible_in_a_row: int = 0
    sobol_index: int = 0  # of the next point

    @property
    def is_open(self) -> bool:
        return self.n_infeasible_in_a_row < _MAX_INFEASIBLE

    def count(self, *, is_feasible: bool) -> None:
        self.n_feasible += is_feasible
        self.n_infeasible_in_a_row = 0 if is_feasible else self.n_infeasible_in_a_row + 1


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
            points = make_design(space)
            design = Design(
                points=(*points.points, *initial_points(space)), infeasible=points.infeasible
            )
        self.design = design
        self.design_size = len(design.points) if space.kind in ("rule", "list") else 0
        self._queue = deque(design.points)
        is_guided = space.kind == "rule" and self._sampler == "gp"
        self._acquisition = RuleAcquisition(space, design=design) if is_guided else None
        self._uses_optuna = not is_guided and SAMPLERS[self._sampler].is_optuna
        self._groups = self._make_groups()
        self._places: list[tuple[_Group, int]] = []  # group and index there, by trial number
        self._n_retries = 0
        if self._uses_optuna:
            make_sampler(self._sampler, seed=0, n_initial=0)  # raises on a missing package

    def restore(self, trials: Iterable[tuple[FrozenTrial, Candidate | None]]) -> None:
        """Take the trials of the study, with their candidates, in the order of their numbers."""
        seen = set()
        for trial, candidate in trials:
            self._restore(trial, candidate)
            seen.add(point_key(trial.params, replicate=trial.user_attrs.get(REPLICATE, 0)))
        points = self._queue
        self._queue = deque(
            p for p in points if point_key(p.params, replicate=p.replicate) not in seen
        )

    @property
    def n_left(self) -> int | None:
        """Number of candidates left; None: unlimited."""
        if self._sampler == "grid":
            return max(0, grid_size(self._parameters) - self._n_suggested)
        if self._sampler == "design" or not any(group.is_open for group in self._groups):
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
        if self._acquisition is not None:
            self._acquisition.add(number, point, candidate=candidate)
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
        group.study.report(index, rung=rung, value=value)
        if self._acquisition is not None:
            self._acquisition.report(number, rung=rung, value=value)

    def tell(self, number: int, *, state: TrialState, values: Sequence[float] | None) -> None:
        """Take the end of a trial."""
        group, index = self._places[number]
        group.study.tell(index, state=state, values=values)
        if self._acquisition is not None:
            self._acquisition.end(number)

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

    def _next_point(self, number: int) -> tuple[DesignPoint, dict[str, Any]]:
        """Return the next point and the attributes that the sampler needs; add it to its group."""
        if self._queue:
            point = self._queue.popleft()
            if self._uses_optuna and point.shares is None:  # an initial point: the sampler's own
                group = self._group_of(point.params)
                return point, self._ask_sampler(group, params=point.params)[1]
            return self._add(point), {}
        name = f"{self._sampler} {number}"
        if self._acquisition is not None:
            return self._add(self._acquisition.ask(number, seed=self._seed())), {}
        if self._sampler == "grid":
            params = grid_params(self._parameters, index=self._n_suggested, seed=self._space.seed)
            return self._add(DesignPoint(name=name, params=params)), {}
        # the open group with the fewest feasible trials, the first of equals
        groups = [group for group in self._groups if group.is_open] or self._groups
        group = min(groups, key=lambda group: group.n_feasible)
        if self._sampler == "sobol":
            return self._sobol_point(group)
        params, attributes = self._ask_sampler(group)
        return DesignPoint(name=name, params=params), attributes

    def _ask_sampler(
        self, group: _Group, *, params: Params | None = None
    ) -> tuple[dict[str, float | int], dict[str, Any]]:
        """Ask Optuna's sampler, or enqueue `params`; return parameters and attributes."""
        sampler = make_sampler(
            self._sampler,
            seed=self._seed(),
            n_initial=-(-n_initial_points(self._space) // len(self._groups)),
        )
        index, chosen, attributes = group.study.ask(sampler, params=params)
        self._places.append((group, index))
        return {**group.params, **chosen}, attributes

    def _sobol_point(self, group: _Group) -> tuple[DesignPoint, dict[str, Any]]:
        """Return the next point of the sequence that has its networks, if there is one soon."""
        others = [p for p in self._parameters if not p.group]
        for _ in range(_MAX_INFEASIBLE):
            index = group.sobol_index
            group.sobol_index += 1
            values = sobol_params(others, index=index, seed=self._space.seed)
            params = {**group.params, **values}
            if has_networks(self._space, params):
                break
        return self._add(DesignPoint(name=f"sobol {index}", params=params)), {_SOBOL_INDEX: index}

    def _add(self, point: DesignPoint) -> DesignPoint:
        """Add a point that Optuna's sampler did not suggest to its group."""
        group = self._group_of(point.params)
        self._places.append((group, group.study.add(point.params)))
        return point

    def _make_groups(self) -> list[_Group]:
        grouping = next((p for p in self._parameters if p.group), None)
        of_groups: list[dict[str, float | int]] = [{}]
        if grouping is not None:
            first = int(grouping.low)
            of_groups = [{grouping.name: first + i} for i in range(grouping.steps or 1)]
        others = {p.name: self.distributions[p.name] for p in self._parameters if not p.group}
        objectives = directions(self._space.objectives)
        return [
            _Group(params=params, study=SamplerStudy(directions=objectives, distributions=others))
            for params in of_groups
        ]

    def _group_of(self, params: Params) -> _Group:
        """Return the group of a trial; one without parameters is another program's."""
        of_group = (g for g in self._groups if g.params.items() <= params.items())
        return next(of_group, self._groups[0])

    def _restore(self, trial: FrozenTrial, candidate: Candidate | None) -> None:
        attributes, group = trial.user_attrs, self._group_of(trial.params)
        is_infeasible = INFEASIBLE in attributes
        state = _INFEASIBLE_STATE if is_infeasible else trial.state
        self._places.append((group, group.study.restore(trial, state=state)))
        self._n_retries += RETRY_OF in attributes
        group.count(is_feasible=not is_infeasible)
        if _SOBOL_INDEX in attributes:
            group.sobol_index = attributes[_SOBOL_INDEX] + 1
        if self._acquisition is not None:
            self._acquisition.restore(trial, candidate)


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
