"""Which candidate to try next: the design's, then the sampler's."""

import hashlib
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass

import optuna
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from cmt_search.errors import BudgetError, SpaceError
from cmt_search.search.attributes import INFEASIBLE, REPLICATE
from cmt_search.search.design import DesignPoint, design
from cmt_search.search.protocols import Space
from cmt_search.search.storage import directions
from cmt_search.space.candidate import Candidate, Parameter

_MAX_INFEASIBLE = 100  # in a row, before the sampler is asked no more
_MIRROR = "mirror"
_INFEASIBLE = TrialState.PRUNED  # in the mirror: samplers keep away from it, but overlook failures


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A trial to be."""

    number: int
    params: dict[str, float | int]
    name: str
    replicate: int
    candidate: Candidate | None  # None: infeasible
    reason: str | None = None  # why it is infeasible


class Asker:
    """Asks for candidates, in a mirror of the study that is held in memory.

    Optuna's `ask` writes a trial piece by piece, and a driver killed in between leaves half of one.
    So the sampler sees the mirror only, and the study gets every trial whole.
    """

    def __init__(self, space: Space, *, trials: Sequence[FrozenTrial]) -> None:
        self.distributions = distributions(space.parameters())
        self._space = space
        self._storage = InMemoryStorage()
        self._study = self._storage.create_new_study(directions(space.objectives), _MIRROR)
        self._mirror = optuna.Study(_MIRROR, self._storage)
        self._mirror.add_trials([_as_seen(trial) for trial in trials])
        held = {_identity(t.params, replicate=t.user_attrs.get(REPLICATE, 0)) for t in trials}
        points = design(space)
        self.design_size = len(points)
        self._design = deque(
            p for p in points if _identity(p.params, replicate=p.replicate) not in held
        )
        self._infeasible_in_a_row = 0

    @property
    def left(self) -> int | None:
        """How many more candidates there are; None: no end of them."""
        endless = self._space.sampler.name != "design"
        if endless and self._infeasible_in_a_row < _MAX_INFEASIBLE:
            return None
        return len(self._design)

    @property
    def designing(self) -> bool:
        """Whether the next candidate is one of the design, whatever the results so far."""
        return bool(self._design)

    def ask(self) -> Asked:
        """The next trial, already in the mirror."""
        point = self._design.popleft() if self._design else None
        number = len(self._mirror.get_trials(deepcopy=False))
        if point is None:
            params, name = self._sample(number), f"{self._space.sampler.name} {number}"
        else:
            params, name = self._place(point), point.name
        replicate = point.replicate if point else 0
        try:
            candidate, reason = self._space.candidate(params, name), None
            self._infeasible_in_a_row = 0
        except BudgetError as error:
            candidate, reason = None, f"infeasible: {error}"
            self._infeasible_in_a_row += 1
            self.tell(number, state=_INFEASIBLE, values=None)
        return Asked(
            number=number,
            params=params,
            name=name,
            replicate=replicate,
            candidate=candidate,
            reason=reason,
        )

    def report(self, number: int, *, rung: int, value: float) -> None:
        """What the one objective of a trial was at a rung."""
        row = self._storage.get_trial_id_from_study_id_trial_number(self._study, number)
        self._storage.set_trial_intermediate_value(row, rung, value)

    def tell(self, number: int, *, state: TrialState, values: Sequence[float] | None) -> None:
        """The end of a trial."""
        self._mirror.tell(number, values, state=state)

    def why_no_more(self) -> str:
        """In a sentence, why fewer candidates were asked for than wanted."""
        if self._space.sampler.name == "design":
            return (
                f"the design holds {self.design_size} trials; for more, raise sampler.lattice or "
                "sampler.replicates, or set sampler.name to tpe"
            )
        return (
            f"{_MAX_INFEASIBLE} candidates in a row were infeasible; widen the ranges or the "
            "budgets of the space"
        )

    def _sample(self, number: int) -> dict[str, float | int]:
        seed = ask_seed(self._space.seed, number=number)
        self._mirror.sampler = _sampler(self._space.sampler.name, seed=seed)
        return dict(self._mirror.ask(self.distributions).params)

    def _place(self, point: DesignPoint) -> dict[str, float | int]:
        params: dict[str, float | int] = {**point.params}
        running = TrialState.RUNNING
        self._mirror.add_trial(
            create_trial(state=running, params=params, distributions=self.distributions)
        )
        return params


def _as_seen(trial: FrozenTrial) -> FrozenTrial:
    """A trial of the study as the mirror holds it."""
    if INFEASIBLE not in trial.user_attrs:
        return trial
    seen = copy(trial)
    seen.state = _INFEASIBLE
    return seen


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


def _sampler(name: str, *, seed: int) -> BaseSampler:
    match name:
        case "random":
            return RandomSampler(seed=seed)
        case "tpe":
            return TPESampler(seed=seed)
    raise SpaceError(f"sampler.name={name!r} is unknown; use design, random or tpe")


def _identity(
    params: Mapping[str, float | int], *, replicate: int
) -> tuple[int, tuple[tuple[str, float], ...]]:
    """What makes two trials of a design the same one."""
    return replicate, tuple(sorted((name, round(value, 9)) for name, value in params.items()))
