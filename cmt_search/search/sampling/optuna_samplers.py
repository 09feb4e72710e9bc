"""Optuna's samplers by name, and the in-memory study that they choose from."""

import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseGASampler, BaseSampler
from optuna.storages import InMemoryStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from cmt_search.errors import SpaceError
from cmt_search.search.serialization import SAMPLER_STATE, join_text, split_text
from cmt_search.space.candidates import SAMPLERS, Params

_NAME = "sampler"
_FIXED_PARAMS = "fixed_params"  # system attribute of an enqueued trial, repeated by its params
_STARTUP_TRIALS = 10  # random ones of a model without initial points
_SMALLEST_GENERATION = 4  # from which parents can be drawn


class TrialGroup:
    """Trials whose values compare, in memory, by the order in which they were suggested.

    They are those of one budget in a shape search, else all. The run's study may hold several
    groups, and each of its trials is added with its candidate in one transaction; Optuna's `ask`
    would write it piece by piece. Samplers keep state (generations, CMA-ES) in system attributes:
    `ask` returns what it added to them, and `restore` takes it, so that a resumed search suggests
    what an uninterrupted one would.
    """

    def __init__(
        self,
        params: Params,
        *,
        directions: Sequence[StudyDirection],
        distributions: Mapping[str, BaseDistribution],
    ) -> None:
        self.params = params  # common to its trials, and unknown to the sampler
        self.n_feasible = 0
        self.n_infeasible_in_a_row = 0
        self.sobol_index = 0  # of the next point
        self._distributions = {n: d for n, d in distributions.items() if n not in params}
        self._storage = InMemoryStorage()  # of this study alone: indices are its ids of trials
        self._id = self._storage.create_new_study(directions, _NAME)
        self._study = optuna.Study(_NAME, self._storage)

    @property
    def trials(self) -> list[FrozenTrial]:
        """Its trials by index; not to be changed."""
        return self._storage.get_all_trials(self._id, deepcopy=False)

    def count(self, *, is_feasible: bool) -> None:
        """Count a suggestion."""
        self.n_feasible += is_feasible
        self.n_infeasible_in_a_row = 0 if is_feasible else self.n_infeasible_in_a_row + 1

    def restore(self, trial: FrozenTrial, *, state: TrialState) -> int:
        """Add a trial of the run's study; return its index."""
        stored: dict[str, Any] = {"trial": {}, "study": {}}
        if SAMPLER_STATE in trial.user_attrs:
            stored = json.loads(join_text(SAMPLER_STATE, trial.user_attrs))
        for key, value in stored["study"].items():
            self._storage.set_study_system_attr(self._id, key, value)
        return self._add(
            trial.params,
            state=state,
            values=trial.values if state is TrialState.COMPLETE else None,
            intermediate_values=trial.intermediate_values,
            system_attrs=stored["trial"],
        )

    def add(self, params: Params) -> int:
        """Add a running trial that the sampler did not suggest; return its index."""
        return self._add(params, state=TrialState.RUNNING)

    def _add(self, params: Params, **options: Any) -> int:
        distributions = {n: d for n, d in self._distributions.items() if n in params}
        params = {name: params[name] for name in distributions}
        trial = create_trial(params=params, distributions=distributions, **options)
        return self._storage.create_new_trial(self._id, trial)

    def ask(
        self, sampler: BaseSampler, *, params: Params | None = None
    ) -> tuple[int, dict[str, float | int], dict[str, Any]]:
        """Ask the sampler, or enqueue `params`; return index, parameters and its attributes."""
        before = dict(self._storage.get_study_system_attrs(self._id))
        self._study.sampler = sampler
        if params is not None:
            self._study.enqueue_trial({name: params[name] for name in self._distributions})
        trial = self._study.ask(self._distributions)
        if params is not None and isinstance(sampler, BaseGASampler):  # Optuna skips enqueued ones
            sampler.get_trial_generation(self._study, self._storage.get_trial(trial._trial_id))
        of_trial = dict(self._storage.get_trial(trial._trial_id).system_attrs)
        of_trial.pop(_FIXED_PARAMS, None)
        after = self._storage.get_study_system_attrs(self._id)
        of_study = {key: value for key, value in after.items() if before.get(key) != value}
        state = {"trial": of_trial, "study": of_study}
        is_stateful = of_trial or of_study
        attributes = split_text(SAMPLER_STATE, json.dumps(state)) if is_stateful else {}
        return trial.number, {**self.params, **trial.params}, attributes

    def report(self, index: int, *, rung: int, value: float) -> None:
        """Store the value of a single objective at a rung."""
        self._storage.set_trial_intermediate_value(index, rung, value)

    def tell(self, index: int, *, state: TrialState, values: Sequence[float] | None) -> None:
        """End a trial."""
        self._study.tell(index, values, state=state)


def check_packages(name: str) -> None:
    """Check that the packages of a sampler are installed.

    Raises:
        SpaceError: one is missing.
    """
    for package in SAMPLERS[name].packages:
        if find_spec(package) is None:
            raise SpaceError(
                f"sampler.name: {name} needs the package {package}; install it with "
                f"`uv pip install {package}`, or use tpe"
            )


def make_sampler(name: str, *, seed: int, n_initial: int) -> BaseSampler:
    """Make the sampler for one suggestion, after `n_initial` initial points."""
    startup = n_initial or _STARTUP_TRIALS
    population = max(_SMALLEST_GENERATION, n_initial)
    samplers = optuna.samplers
    factories: dict[str, Callable[..., BaseSampler]] = {
        "random": samplers.RandomSampler,
        # the constant liar keeps parallel trials apart
        "tpe": partial(samplers.TPESampler, n_startup_trials=startup, constant_liar=True),
        "gp": partial(samplers.GPSampler, n_startup_trials=startup),
        "nsga2": partial(samplers.NSGAIISampler, population_size=population),
        "nsga3": partial(samplers.NSGAIIISampler, population_size=population),
        "cmaes": partial(
            samplers.CmaEsSampler, n_startup_trials=startup, warn_independent_sampling=False
        ),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return factories[name](seed=seed)
