"""Candidate generation: the design or initial points first, then the sampler."""

import hashlib
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState

from cmt_search.errors import BudgetError, SpaceError
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
from cmt_search.search.serialization import (
    INFEASIBLE,
    REPLICATE,
    RETRY_OF,
    SAMPLER_STATE,
    join_text,
    split_text,
)
from cmt_search.search.storage import directions
from cmt_search.search.types import Space
from cmt_search.space.candidates import Candidate, Parameter

_MAX_INFEASIBLE = 100  # suggestions of a group in a row, before it gets no more
# For samplers: unlike failed trials, those that were pruned without a value count as bad.
_INFEASIBLE_STATE = TrialState.PRUNED
_SOBOL_INDEX = "sobol_index"


@dataclass(frozen=True, slots=True, kw_only=True)
class Suggestion:
    """A candidate of the next trial."""

    number: int
    params: dict[str, float | int]
    name: str
    replicate: int
    candidate: Candidate | None  # None: infeasible
    reason: str | None = None  # of infeasibility
    attributes: dict[str, Any] = field(default_factory=dict)  # the sampler's, of the trial


def fixed_design(space: Space) -> Design:
    """Return the points that do not depend on results: design and initial points."""
    design = make_design(space)
    return Design(points=(*design.points, *initial_points(space)), infeasible=design.infeasible)


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
        self._grouping = next((p for p in self._parameters if p.group), None)
        self.design = fixed_design(space) if design is None else design
        self.design_size = len(self.design.points) if space.kind in ("rule", "list") else 0
        self._queue = deque(self.design.points)
        is_guided = space.kind == "rule" and self._sampler == "gp"
        self._acquisition = RuleAcquisition(space, design=self.design) if is_guided else None
        self._uses_optuna = not is_guided and self._sampler not in ("design", "sobol", "grid")
        self._studies: dict[int, SamplerStudy] = {}  # by group
        self._places: list[tuple[int, int]] = []  # group and index there, by trial number
        self._n_retries = 0
        self._n_feasible: Counter[int] = Counter()  # by group
        self._n_infeasible_in_a_row: Counter[int] = Counter()  # by group
        self._sobol_index: Counter[int] = Counter()  # next, by group
        if self._sampler == "grid":
            grid_size(self._parameters)  # raises on an endless grid
        elif self._uses_optuna:
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
        if self._sampler == "design" or not self._open_groups():
            return len(self._queue)
        return None

    @property
    def is_predetermined(self) -> bool:
        """Whether the next candidate does not depend on results."""
        return bool(self._queue) or self._sampler in ("sobol", "grid")

    def ask(self) -> Suggestion:
        """Suggest the candidate of the next trial."""
        number = len(self._places)
        point, group, attributes = self._next_point(number)
        candidate, reason = None, None
        try:
            candidate = self._space.candidate(point.params, point.name)
        except BudgetError as error:
            reason = f"infeasible: {error}"
        self._count(group, is_feasible=candidate is not None)
        if candidate is None:
            self.tell(number, state=_INFEASIBLE_STATE, values=None)
        if self._acquisition is not None:
            self._acquisition.add(
                number, params=point.params, replicate=point.replicate, candidate=candidate
            )
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
        if self._uses_optuna:
            self._studies[group].report(index, rung=rung, value=value)
        if self._acquisition is not None:
            self._acquisition.report(number, rung=rung, value=value)

    def tell(self, number: int, *, state: TrialState, values: Sequence[float] | None) -> None:
        """Take the end of a trial."""
        group, index = self._places[number]
        if self._uses_optuna:
            self._studies[group].tell(index, state=state, values=values)
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

    # Choosing.

    @property
    def _n_suggested(self) -> int:
        return len(self._places) - self._n_retries

    def _seed(self) -> int:
        return suggestion_seed(self._space.seed, number=self._n_suggested)

    def _next_point(self, number: int) -> tuple[DesignPoint, int, dict[str, Any]]:
        """Return the next point, its group and the attributes that the sampler needs."""
        if self._queue:
            point = self._queue.popleft()
            group, attributes = self._group_of(point.params), {}
            if self._uses_optuna and point.shares is None:  # an initial point: the sampler's own
                attributes = self._ask_sampler(group, params=point.params)[1]
            else:
                self._place(group, params=point.params)
            return point, group, attributes
        group, name = self._next_group(), f"{self._sampler} {number}"
        if self._acquisition is not None:
            point = self._acquisition.ask(number, seed=self._seed())
        elif self._sampler == "sobol":
            return self._sobol_point(group)
        elif self._sampler == "grid":
            params = grid_params(self._parameters, index=self._n_suggested, seed=self._space.seed)
            if params is None:
                raise SpaceError(self.why_no_more())
            point, group = DesignPoint(name=name, params=params), self._group_of(params)
        else:
            params, attributes = self._ask_sampler(group)
            return DesignPoint(name=name, params=params), group, attributes
        self._place(group, params=point.params)
        return point, group, {}

    def _ask_sampler(
        self, group: int, *, params: Mapping[str, float | int] | None = None
    ) -> tuple[dict[str, float | int], dict[str, Any]]:
        """Ask Optuna's sampler, or enqueue `params`; return parameters and attributes."""
        sampler = make_sampler(
            self._sampler,
            seed=self._seed(),
            n_initial=-(-n_initial_points(self._space) // len(self._groups())),
        )
        index, chosen, state = self._study(group).ask(sampler, params=params)
        self._places.append((group, index))
        attributes = {} if state is None else split_text(SAMPLER_STATE, state)
        return {**self._group_params(group), **chosen}, dict(attributes)

    def _sobol_point(self, group: int) -> tuple[DesignPoint, int, dict[str, Any]]:
        """Return the next point of the sequence that has its networks, if there is one soon."""
        others = [p for p in self._parameters if not p.group]
        for _ in range(_MAX_INFEASIBLE):
            index = self._sobol_index[group]
            self._sobol_index[group] += 1
            values = sobol_params(others, index=index, seed=self._space.seed)
            params = {**self._group_params(group), **values}
            if has_networks(self._space, params):
                break
        self._place(group, params=params)
        return DesignPoint(name=f"sobol {index}", params=params), group, {_SOBOL_INDEX: index}

    def _place(self, group: int, *, params: Mapping[str, float | int]) -> None:
        index = self._study(group).add(params) if self._uses_optuna else 0
        self._places.append((group, index))

    # Groups.

    def _groups(self) -> range:
        if self._grouping is None:
            return range(1)
        first = int(self._grouping.low)
        return range(first, first + (self._grouping.steps or 1))

    def _open_groups(self) -> list[int]:
        return [g for g in self._groups() if self._n_infeasible_in_a_row[g] < _MAX_INFEASIBLE]

    def _next_group(self) -> int:
        """Return the open group with the fewest feasible trials, the first of equals."""
        return min(self._open_groups() or self._groups(), key=lambda group: self._n_feasible[group])

    def _group_of(self, params: Mapping[str, float | int]) -> int:
        """Return the group of a trial; one without parameters is another program's."""
        if self._grouping is None:
            return 0
        return int(params.get(self._grouping.name, self._grouping.low))

    def _group_params(self, group: int) -> dict[str, float | int]:
        return {} if self._grouping is None else {self._grouping.name: group}

    def _study(self, group: int) -> SamplerStudy:
        if group not in self._studies:
            others = {p.name: self.distributions[p.name] for p in self._parameters if not p.group}
            self._studies[group] = SamplerStudy(
                directions=directions(self._space.objectives), distributions=others
            )
        return self._studies[group]

    def _count(self, group: int, *, is_feasible: bool) -> None:
        self._n_feasible[group] += is_feasible
        in_a_row = self._n_infeasible_in_a_row[group]
        self._n_infeasible_in_a_row[group] = 0 if is_feasible else in_a_row + 1

    def _restore(self, trial: FrozenTrial, candidate: Candidate | None) -> None:
        attributes, group, index = trial.user_attrs, self._group_of(trial.params), 0
        is_infeasible = INFEASIBLE in attributes
        if self._uses_optuna:
            state = join_text(SAMPLER_STATE, attributes) if SAMPLER_STATE in attributes else None
            index = self._study(group).restore(
                trial,
                state=_INFEASIBLE_STATE if is_infeasible else trial.state,
                sampler_state=state,
            )
        self._places.append((group, index))
        self._n_retries += RETRY_OF in attributes
        self._count(group, is_feasible=not is_infeasible)
        if _SOBOL_INDEX in attributes:
            self._sobol_index[group] = attributes[_SOBOL_INDEX] + 1
        if self._acquisition is not None:
            self._acquisition.restore(trial, candidate)


def distributions(parameters: Iterable[Parameter]) -> dict[str, BaseDistribution]:
    """Return Optuna's distributions of the parameters."""
    return {parameter.name: _distribution(parameter) for parameter in parameters}


def suggestion_seed(seed: int, *, number: int) -> int:
    """Return the seed of a suggestion."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{number}".encode()).digest()[:4], "big")


def _distribution(parameter: Parameter) -> BaseDistribution:
    low, high, log = parameter.low, parameter.high, parameter.log
    if not parameter.integer:
        return FloatDistribution(low, high, log=log, step=parameter.step)
    return IntDistribution(int(low), int(high), log=log, step=int(parameter.step or 1))


def preview_candidates(
    space: Space, *, most: int | None = None
) -> Iterator[tuple[DesignPoint, Candidate | None, str | None]]:
    """Yield the first candidates, in the order of their trials, as long as results do not matter.

    An infeasible candidate is None, with the reason; it counts as a trial in a design only.
    """
    from optuna.logging import WARNING, set_verbosity

    set_verbosity(WARNING)
    generator, n_trials = CandidateGenerator(space), 0
    while (
        generator.is_predetermined and generator.n_left != 0 and (most is None or n_trials < most)
    ):
        suggestion = generator.ask()
        n_trials += suggestion.candidate is not None or space.sampler.name == "design"
        point = DesignPoint(
            name=suggestion.name, params=suggestion.params, replicate=suggestion.replicate
        )
        yield point, suggestion.candidate, suggestion.reason
