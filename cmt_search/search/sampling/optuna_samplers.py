"""Optuna's samplers by name, on an in-memory study."""

import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import (
    BaseGASampler,
    BaseSampler,
    NSGAIIISampler,
    NSGAIISampler,
    RandomSampler,
    TPESampler,
)
from optuna.storages import InMemoryStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from cmt_search.errors import SpaceError

_NAME = "sampler_study"
_NOT_KEPT = "fixed_params"  # of an enqueued trial; its parameters say the same


class SamplerStudy:
    """The trials of a study, or of one group of it, by the order in which they were asked for.

    A sampler that keeps something of a trial or of the study (generations, parents, the state of
    CMA-ES) keeps it in attributes. `ask` returns what is new in them, and `add` takes it back, so
    that a driver that begins anew asks what the one before would have asked.
    """

    def __init__(
        self,
        *,
        directions: Sequence[StudyDirection],
        distributions: Mapping[str, BaseDistribution],
    ) -> None:
        self._distributions = dict(distributions)
        self._storage = InMemoryStorage()
        self._id = self._storage.create_new_study(directions, _NAME)
        self._study = optuna.Study(_NAME, self._storage)

    def __len__(self) -> int:
        return len(self._study.get_trials(deepcopy=False))

    def add(self, trial: FrozenTrial, *, state: TrialState, remembered: str | None) -> int:
        """Take in a trial of the study, and what its sampler kept; its place here."""
        kept = json.loads(remembered) if remembered else {"trial": {}, "study": {}}
        params = {name: v for name, v in trial.params.items() if name in self._distributions}
        self._study.add_trial(
            create_trial(
                state=state,
                params=params,
                distributions={name: self._distributions[name] for name in params},
                values=trial.values if state is TrialState.COMPLETE else None,
                intermediate_values=trial.intermediate_values,
                system_attrs=kept["trial"],
            )
        )
        for key, value in kept["study"].items():
            self._storage.set_study_system_attr(self._id, key, value)
        return len(self) - 1

    def place(
        self, params: Mapping[str, float | int], *, kept: Mapping[str, int] | None = None
    ) -> tuple[int, str | None]:
        """Enter a running trial that no sampler of Optuna's chose: place, what to remember."""
        self._study.add_trial(
            create_trial(
                state=TrialState.RUNNING,
                params={name: params[name] for name in self._distributions},
                distributions=self._distributions,
                system_attrs=dict(kept or {}),
            )
        )
        return len(self) - 1, _text(kept or {}, {})

    def last(self, key: str) -> int:
        """The largest of what was kept by this name; -1: nothing was."""
        trials = self._study.get_trials(deepcopy=False)
        return max((trial.system_attrs.get(key, -1) for trial in trials), default=-1)

    def ask(
        self, sampler: BaseSampler, *, params: Mapping[str, float | int] | None = None
    ) -> tuple[int, dict[str, float | int], str | None]:
        """The sampler's choice, or `params` as if it were: place, parameters, what to remember."""
        before = dict(self._storage.get_study_system_attrs(self._id))
        self._study.sampler = sampler
        if params is not None:
            self._study.enqueue_trial({name: params[name] for name in self._distributions})
        trial = self._study.ask(self._distributions)
        if params is not None and isinstance(sampler, BaseGASampler):  # Optuna skips these
            sampler.get_trial_generation(self._study, self._storage.get_trial(trial._trial_id))
        own = dict(self._storage.get_trial(trial._trial_id).system_attrs)
        own.pop(_NOT_KEPT, None)
        after = self._storage.get_study_system_attrs(self._id)
        new = {key: value for key, value in after.items() if before.get(key) != value}
        return trial.number, dict(trial.params), _text(own, new)

    def report(self, place: int, *, rung: int, value: float) -> None:
        """What the one objective of a trial was at a rung."""
        row = self._storage.get_trial_id_from_study_id_trial_number(self._id, place)
        self._storage.set_trial_intermediate_value(row, rung, value)

    def tell(self, place: int, *, state: TrialState, values: Sequence[float] | None) -> None:
        """The end of a trial."""
        self._study.tell(place, values, state=state)


def _text(trial: Mapping[str, Any], study: Mapping[str, Any]) -> str | None:
    """What a sampler kept, as JSON."""
    return json.dumps({"trial": trial, "study": study}) if trial or study else None


_STARTUP = 10  # random asks of a model without initial points
_SMALLEST = 4  # generation of which parents can be drawn


def sampler_of(name: str, *, seed: int, initial_points: int) -> BaseSampler:
    """A sampler for one ask; `initial_points` is how many trials came before it learns.

    Raises:
        SpaceError: there is none of this name, or its package is missing.
    """
    if name not in _SAMPLERS:
        known = ", ".join(("design", "sobol", "grid", *_SAMPLERS))
        raise SpaceError(f"sampler.name={name!r} is unknown; use {known}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return _SAMPLERS[name](seed, initial_points)


def _random(seed: int, initial_points: int) -> BaseSampler:
    del initial_points  # it learns nothing
    return RandomSampler(seed=seed)


def _tpe(seed: int, initial_points: int) -> BaseSampler:
    # with the constant liar, those that run in parallel keep away from each other
    return TPESampler(seed=seed, n_startup_trials=initial_points or _STARTUP, constant_liar=True)


def _gp(seed: int, initial_points: int) -> BaseSampler:
    _needs("torch", "scipy", name="gp")
    from optuna.samplers import GPSampler

    return GPSampler(seed=seed, n_startup_trials=initial_points or _STARTUP)


def _nsga2(seed: int, initial_points: int) -> BaseSampler:
    return NSGAIISampler(seed=seed, population_size=max(_SMALLEST, initial_points))


def _nsga3(seed: int, initial_points: int) -> BaseSampler:
    return NSGAIIISampler(seed=seed, population_size=max(_SMALLEST, initial_points))


def _cmaes(seed: int, initial_points: int) -> BaseSampler:
    _needs("cmaes", name="cmaes")
    from optuna.samplers import CmaEsSampler

    return CmaEsSampler(
        seed=seed, n_startup_trials=initial_points or _STARTUP, warn_independent_sampling=False
    )


_SAMPLERS: dict[str, Callable[[int, int], BaseSampler]] = {
    "random": _random,
    "tpe": _tpe,
    "gp": _gp,
    "nsga2": _nsga2,
    "nsga3": _nsga3,
    "cmaes": _cmaes,
}


def _needs(*packages: str, name: str) -> None:
    missing = [package for package in packages if find_spec(package) is None]
    if missing:
        raise SpaceError(
            f"sampler.name: {name} needs the package {missing[0]}; install it with "
            f"`uv pip install {missing[0]}`, or use tpe"
        )
