"""Optuna's samplers by the names of space files."""

import warnings
from collections.abc import Callable
from importlib.util import find_spec

from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, NSGAIIISampler, NSGAIISampler, RandomSampler, TPESampler

from cmt_search.errors import SpaceError

_STARTUP = 10  # random asks of a model that got no population
_SMALLEST = 4  # generation of which parents can be drawn


def sampler_of(name: str, *, seed: int, population: int) -> BaseSampler:
    """A sampler for one ask; `population` is how many trials came before it learns.

    Raises:
        SpaceError: there is none of this name, or its package is missing.
    """
    if name not in _SAMPLERS:
        known = ", ".join(("design", "sobol", "grid", *_SAMPLERS))
        raise SpaceError(f"sampler.name={name!r} is unknown; use {known}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return _SAMPLERS[name](seed, population)


def _random(seed: int, population: int) -> BaseSampler:
    del population  # it learns nothing
    return RandomSampler(seed=seed)


def _tpe(seed: int, population: int) -> BaseSampler:
    # with the constant liar, those that run in parallel keep away from each other
    return TPESampler(seed=seed, n_startup_trials=population or _STARTUP, constant_liar=True)


def _gp(seed: int, population: int) -> BaseSampler:
    _needs("torch", "scipy", name="gp")
    from optuna.samplers import GPSampler

    return GPSampler(seed=seed, n_startup_trials=population or _STARTUP)


def _nsga2(seed: int, population: int) -> BaseSampler:
    return NSGAIISampler(seed=seed, population_size=max(_SMALLEST, population))


def _nsga3(seed: int, population: int) -> BaseSampler:
    return NSGAIIISampler(seed=seed, population_size=max(_SMALLEST, population))


def _cmaes(seed: int, population: int) -> BaseSampler:
    _needs("cmaes", name="cmaes")
    from optuna.samplers import CmaEsSampler

    return CmaEsSampler(
        seed=seed, n_startup_trials=population or _STARTUP, warn_independent_sampling=False
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
