"""Candidate generation: the design or initial points first, then the sampler."""

import hashlib
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState

from cmt_search.errors import BudgetError
from cmt_search.search.sampling.design import DesignPoint, identity, make_design
from cmt_search.search.sampling.optuna_samplers import SamplerStudy, sampler_of
from cmt_search.search.sampling.rule_acquisition import RuleAcquisition
from cmt_search.search.sampling.sobol import (
    grid_params,
    grid_size,
    has_networks,
    initial_points,
    n_initial_points,
    sobol_params,
)
from cmt_search.search.serialization import INFEASIBLE, REPLICATE, SAMPLER_MEMORY
from cmt_search.search.storage import directions
from cmt_search.search.types import Space
from cmt_search.space.candidates import Candidate, Parameter

_MAX_INFEASIBLE = 100  # in a row, before the sampler is asked no more
_INFEASIBLE = TrialState.PRUNED  # in the sampler study: samplers avoid it, but overlook failures
_SOBOL = "sobol"  # what is kept of a trial: its place in the sequence
_OWN = ("design", "sobol", "grid")  # not Optuna's


@dataclass(frozen=True, slots=True, kw_only=True)
class Suggestion:
    """A trial to be."""

    number: int
    params: dict[str, float | int]
    name: str
    replicate: int
    candidate: Candidate | None  # None: infeasible
    reason: str | None = None  # why it is infeasible
    remembered: str | None = None  # what the sampler keeps of it

    @property
    def memory(self) -> dict[str, str]:
        """What the sampler keeps, as attributes of the trial."""
        return {} if self.remembered is None else {SAMPLER_MEMORY: self.remembered}


class CandidateGenerator:
    """Asks for candidates, in a sampler_study of the study that is held in memory.

    Optuna's `ask` writes a trial piece by piece, and a driver killed in between leaves half of one.
    So the sampler sees a sampler study only, and the study gets every trial whole. A space with
    groups has a sampler study for each, which take turns: values are compared within one only.
    """

    def __init__(self, space: Space, *, trials: Sequence[FrozenTrial]) -> None:
        self._space = space
        self._parameters = space.parameters()
        self.distributions = distributions(self._parameters)
        self._group = next((p for p in self._parameters if p.group), None)
        self._sampler_studies: dict[int, SamplerStudy] = {}
        self._places: list[tuple[int, int]] = []  # group and place there, by number
        self._feasible: Counter[int] = Counter()  # trials that have networks, by group
        plan = make_design(space)
        self.design_size = len(plan.points)
        self._guide = RuleAcquisition(space, design=plan) if self._guided else None
        self._n_initial = n_initial_points(space)
        held = set()
        for trial in trials:
            self._take_over(trial)
            held.add(identity(trial.params, replicate=trial.user_attrs.get(REPLICATE, 0)))
        points = (*plan.points, *initial_points(space))
        self._queue = deque(
            p for p in points if identity(p.params, replicate=p.replicate) not in held
        )
        self._infeasible_in_a_row = 0
        if self._is("grid"):
            grid_size(self._parameters)  # refuses an endless one here, not at an ask
        elif not self._is(*_OWN) and self._guide is None:
            sampler_of(space.sampler.name, seed=0, initial_points=0)  # likewise a missing package

    @property
    def left(self) -> int | None:
        """How many more candidates there are; None: no end of them."""
        if self._is("grid"):
            return max(0, grid_size(self._parameters) - len(self._places))
        if not self._is("design") and self._infeasible_in_a_row < _MAX_INFEASIBLE:
            return None
        return len(self._queue)

    @property
    def designing(self) -> bool:
        """Whether the next candidate is known beforehand, whatever the results so far."""
        return bool(self._queue) or self._is("sobol", "grid")

    def ask(self) -> Suggestion:
        """The next trial, already in the sampler_study."""
        number = len(self._places)
        point, remembered = self._next(number)
        candidate, reason = None, None
        try:
            candidate = self._space.candidate(point.params, point.name)
        except BudgetError as error:
            reason = f"infeasible: {error}"
        self._note(number, point, candidate)
        return Suggestion(
            number=number,
            params=dict(point.params),
            name=point.name,
            replicate=point.replicate,
            candidate=candidate,
            reason=reason,
            remembered=remembered,
        )

    def report(self, number: int, *, rung: int, value: float) -> None:
        """What the one objective of a trial was at a rung."""
        group, place = self._places[number]
        self._sampler_studies[group].report(place, rung=rung, value=value)
        if self._guide is not None:
            self._guide.report(number, rung=rung, value=value)

    def tell(self, number: int, *, state: TrialState, values: Sequence[float] | None) -> None:
        """The end of a trial."""
        group, place = self._places[number]
        self._sampler_studies[group].tell(place, state=state, values=values)
        if self._guide is not None:
            self._guide.end(number)

    def why_no_more(self) -> str:
        """In a sentence, why fewer candidates were asked for than wanted."""
        if self._is("design"):
            return (
                f"the design holds {self.design_size} trials; for more, raise sampler.lattice or "
                "sampler.replicates, or set sampler.name to gp"
            )
        if self._is("grid"):
            return (
                f"the grid holds {grid_size(self._parameters)} points; use finer steps, or another "
                "sampler"
            )
        return (
            f"{_MAX_INFEASIBLE} candidates in a row were infeasible; widen the ranges or the "
            "budgets of the space"
        )

    # Choosing.

    @property
    def _guided(self) -> bool:
        return self._space.kind == "rule" and self._is("gp")

    def _is(self, *names: str) -> bool:
        return self._space.sampler.name in names

    def _next(self, number: int) -> tuple[DesignPoint, str | None]:
        """The next point, and what its sampler keeps of it."""
        if self._queue:
            point = self._queue.popleft()
            if point.shares is None and self._n_initial:  # as if the sampler had chosen it
                return point, self._ask(number, self._group_of(point.params), point=point)[1]
            self._enter(point.params)
            return point, None
        if self._guide is not None:
            point = self._guide.ask(number, seed=ask_seed(self._space.seed, number=number))
            self._enter(point.params)
            return point, None
        name = f"{self._space.sampler.name} {number}"
        if self._is("grid"):
            params = self._grid_point(number)
            self._enter(params)
            return DesignPoint(name=name, params=params), None
        if self._is("sobol"):
            return self._sobol_point()
        params, remembered = self._ask(number, self._turn())
        return DesignPoint(name=name, params=params), remembered

    def _ask(
        self, number: int, group: int, *, point: DesignPoint | None = None
    ) -> tuple[dict[str, float | int], str | None]:
        """What Optuna's sampler chooses, or a point in its name."""
        sampler = sampler_of(
            self._space.sampler.name,
            seed=ask_seed(self._space.seed, number=number),
            initial_points=-(-self._n_initial // max(1, self._groups)),
        )
        given = None if point is None else point.params
        place, params, remembered = self._sampler_study(group).ask(sampler, params=given)
        self._places.append((group, place))
        if self._group is not None:
            params = {self._group.name: group, **params}
        return params, remembered

    def _sobol_point(self) -> tuple[DesignPoint, str | None]:
        """The next point of the sequence that has its networks, if there is one soon."""
        turn = self._turn()
        own = [p for p in self._parameters if not p.group]
        first = {} if self._group is None else {self._group.name: turn}
        index = self._sampler_study(turn).last(_SOBOL) + 1
        for tries in range(_MAX_INFEASIBLE):
            params = {**first, **sobol_params(own, index=index + tries, seed=self._space.seed)}
            if has_networks(self._space, params):
                break
        kept = {_SOBOL: index + tries}
        remembered = self._enter(params, kept=kept)
        return DesignPoint(name=f"sobol {index + tries}", params=params), remembered

    def _grid_point(self, number: int) -> dict[str, float | int]:
        params = grid_params(self._parameters, index=number, seed=self._space.seed)
        assert params is not None, "`left` ends with the grid"
        return params

    # Strata.

    @property
    def _groups(self) -> int:
        return 1 if self._group is None else self._group.steps or 1

    def _turn(self) -> int:
        """The group with the fewest trials that have networks, the first of equals."""
        first = 0 if self._group is None else int(self._group.low)
        return min(range(first, first + self._groups), key=lambda value: self._feasible[value])

    def _group_of(self, params: Mapping[str, float | int]) -> int:
        return 0 if self._group is None else int(params[self._group.name])

    def _sampler_study(self, group: int) -> SamplerStudy:
        if group not in self._sampler_studies:
            own = {p.name: self.distributions[p.name] for p in self._parameters if not p.group}
            self._sampler_studies[group] = SamplerStudy(
                directions=directions(self._space.objectives), distributions=own
            )
        return self._sampler_studies[group]

    # Keeping.

    def _enter(
        self, params: Mapping[str, float | int], *, kept: Mapping[str, int] | None = None
    ) -> str | None:
        """Enter a point that no sampler of Optuna's chose; what to remember of it."""
        group = self._group_of(params)
        place, remembered = self._sampler_study(group).place(params, kept=kept)
        self._places.append((group, place))
        return remembered

    def _note(self, number: int, point: DesignPoint, candidate: Candidate | None) -> None:
        """Keep what became of an ask."""
        if self._guide is not None:
            self._guide.enter(
                number, params=point.params, replicate=point.replicate, candidate=candidate
            )
        if candidate is None:
            self._infeasible_in_a_row += 1
            self.tell(number, state=_INFEASIBLE, values=None)
            return
        self._infeasible_in_a_row = 0
        self._feasible[self._places[number][0]] += 1

    def _take_over(self, trial: FrozenTrial) -> None:
        """Take in a trial that the study holds."""
        known = trial.user_attrs
        infeasible = INFEASIBLE in known
        group = self._group_of(trial.params) if trial.params else 0
        place = self._sampler_study(group).add(
            trial,
            state=_INFEASIBLE if infeasible else trial.state,
            remembered=known.get(SAMPLER_MEMORY),
        )
        self._places.append((group, place))
        self._feasible[group] += not infeasible
        if self._guide is not None:
            self._guide.take_over(trial)


def distributions(parameters: Iterable[Parameter]) -> dict[str, BaseDistribution]:
    """The parameters in Optuna's words."""
    return {parameter.name: _distribution(parameter) for parameter in parameters}


def ask_seed(seed: int, *, number: int) -> int:
    """The seed of one ask, so that it hangs on the run and the trial, not on what went before."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{number}".encode()).digest()[:4], "big")


def _distribution(parameter: Parameter) -> BaseDistribution:
    low, high, log = parameter.low, parameter.high, parameter.log
    if not parameter.integer:
        return FloatDistribution(low, high, log=log, step=parameter.step)
    return IntDistribution(int(low), int(high), log=log, step=int(parameter.step or 1))


def preview_candidates(
    space: Space, *, most: int | None = None
) -> Iterator[tuple[DesignPoint, Candidate | None, str | None]]:
    """The first candidates as far as they are known beforehand, in the order of their trials.

    Those of a design, the initial points, or the points of a sequence or a grid. A candidate
    without a network is None, with the reason; it counts as a trial of a design alone.
    """
    from optuna.logging import WARNING, set_verbosity

    set_verbosity(WARNING)
    generator, feasible = CandidateGenerator(space, trials=()), 0
    while generator.designing and generator.left != 0 and (most is None or feasible < most):
        asked = generator.ask()
        feasible += asked.candidate is not None or space.sampler.name == "design"
        point = DesignPoint(name=asked.name, params=asked.params, replicate=asked.replicate)
        yield point, asked.candidate, asked.reason
