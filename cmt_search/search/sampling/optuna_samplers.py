"""Optuna's samplers by name, and the in-memory study that they choose from."""

import json
import warnings
from collections.abc import Mapping, Sequence
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
from cmt_search.space.candidates import SAMPLERS

_NAME = "sampler"
_FIXED_PARAMS = "fixed_params"  # system attribute of an enqueued trial, repeated by its params
_STARTUP_TRIALS = 10  # random ones of a model without initial points
_SMALLEST_GENERATION = 4  # from which parents can be drawn


class SamplerStudy:
    """The trials of one group, in memory, by the order in which they were suggested.

    The run's study may hold several groups whose values do not compare, and each of its trials is
    added with its candidate in one transaction; `ask` would write it piece by piece. Samplers keep
    state (generations, CMA-ES) in system attributes: `ask` returns what it added to them, and
    `restore` takes it, so that a resumed search suggests what an uninterrupted one would.
    """

    def __init__(
        self,
        *,
        directions: Sequence[StudyDirection],
        distributions: Mapping[str, BaseDistribution],
    ) -> None:
        self._distributions = dict(distributions)
        self._storage = InMemoryStorage()  # of this study alone: indices are its ids of trials
        self._id = self._storage.create_new_study(directions, _NAME)
        self._study = optuna.Study(_NAME, self._storage)

    def restore(self, trial: FrozenTrial, *, state: TrialState) -> int:
        """Add a trial of the run's study; return its index."""
        stored: dict[str, Any] = {"trial": {}, "study": {}}
        if SAMPLER_STATE in trial.user_attrs:
            stored = json.loads(join_text(SAMPLER_STATE, trial.user_attrs))
        params = {name: v for name, v in trial.params.items() if name in self._distributions}
        for key, value in stored["study"].items():
            self._storage.set_study_system_attr(self._id, key, value)
        restored = create_trial(
            state=state,
            params=params,
            distributions={name: self._distributions[name] for name in params},
            values=trial.values if state is TrialState.COMPLETE else None,
            intermediate_values=trial.intermediate_values,
            system_attrs=stored["trial"],
        )
        return self._storage.create_new_trial(self._id, restored)

    def add(self, params: Mapping[str, float | int]) -> int:
        """Add a running trial that the sampler did not suggest; return its index."""
        params = {name: params[name] for name in self._distributions}
        trial = create_trial(
            state=TrialState.RUNNING, params=params, distributions=self._distributions
        )
        return self._storage.create_new_trial(self._id, trial)

    def ask(
        self, sampler: BaseSampler, *, params: Mapping[str, float | int] | None = None
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
        attributes: dict[str, Any] = {}
        if of_trial or of_study:
            state = json.dumps({"trial": of_trial, "study": of_study})
            attributes |= split_text(SAMPLER_STATE, state)
        return trial.number, dict(trial.params), attributes

    def report(self, index: int, *, rung: int, value: float) -> None:
        """Store the value of a single objective at a rung."""
        self._storage.set_trial_intermediate_value(index, rung, value)

    def tell(self, index: int, *, state: TrialState, values: Sequence[float] | None) -> None:
        """End a trial."""
        self._study.tell(index, values, state=state)


def make_sampler(name: str, *, seed: int, n_initial: int) -> BaseSampler:
    """Make the sampler for one suggestion, after `n_initial` initial points.

    Raises:
        SpaceError: a package is missing.
    """
    for package in SAMPLERS[name].packages:
        if find_spec(package) is None:
            raise SpaceError(
                f"sampler.name: {name} needs the package {package}; install it with "
                f"`uv pip install {package}`, or use tpe"
            )
    samplers = optuna.samplers
    population = max(_SMALLEST_GENERATION, n_initial)
    startup = n_initial or _STARTUP_TRIALS
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        match name:
            case "random":
                return samplers.RandomSampler(seed=seed)
            case "tpe":  # the constant liar keeps parallel trials apart
                return samplers.TPESampler(seed=seed, n_startup_trials=startup, constant_liar=True)
            case "gp":
                return samplers.GPSampler(seed=seed, n_startup_trials=startup)
            case "nsga2":
                return samplers.NSGAIISampler(seed=seed, population_size=population)
            case "nsga3":
                return samplers.NSGAIIISampler(seed=seed, population_size=population)
            case _:
                options: dict[str, Any] = {"warn_independent_sampling": False}
                return samplers.CmaEsSampler(seed=seed, n_startup_trials=startup, **options)
