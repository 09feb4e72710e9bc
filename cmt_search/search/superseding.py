"""Trials that another one repeats, because Optuna's trials cannot be reopened once they ended.

Memory may run out on a rung that other trials have finished: all of them are trained again there,
with the same smaller micro-batch, or BatchNorm would make them incomparable. The old trials and
measurements stay in the study, and whoever reads it passes over them.
"""

from collections.abc import Iterable, Mapping
from copy import copy
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from cmt_search.search import attributes as attr


def superseded(trials: Iterable[FrozenTrial]) -> frozenset[int]:
    """Numbers of the trials that another one repeats."""
    return frozenset(
        trial.user_attrs[attr.REPEATS] for trial in trials if attr.REPEATS in trial.user_attrs
    )


def outdated(
    trials: Iterable[FrozenTrial], *, micro_batches: Mapping[int, int]
) -> list[FrozenTrial]:
    """Ended trials with a rung that was measured with more images per pass than it is now.

    Those that failed stand in no comparison, and are left.
    """
    trials = list(trials)
    gone = superseded(trials)
    ended = (TrialState.COMPLETE, TrialState.PRUNED)
    return [
        trial
        for trial in trials
        if trial.number not in gone
        and trial.state in ended
        and attr.rungs_measured_otherwise(trial.user_attrs, micro_batches=micro_batches)
    ]


def failed(trials: Iterable[FrozenTrial]) -> list[FrozenTrial]:
    """Failed trials that could be tried again: they have a network, and nobody repeats them."""
    trials = list(trials)
    gone = superseded(trials)
    return [
        trial
        for trial in trials
        if trial.state == TrialState.FAIL
        and trial.number not in gone
        and attr.CANDIDATE in trial.user_attrs
    ]


def repeat_of(trial: FrozenTrial) -> dict[str, Any]:
    """What `StudyStore.add` takes for a trial that repeats this one from its first rung on."""
    return {
        "state": TrialState.RUNNING,
        "params": trial.params,
        "distributions": trial.distributions,
        "attributes": attr.without_results(trial.user_attrs) | {attr.REPEATS: trial.number},
    }


class Lineage:
    """Which trial answers which ask: a trial that repeats another answers the ask of that one.

    Samplers count asks from 0, in order, and see one trial for each: the last.
    """

    def __init__(self, trials: Iterable[FrozenTrial]) -> None:
        self._asks: dict[int, int] = {}  # by number of the trial
        self._last: dict[int, FrozenTrial] = {}  # by ask
        self._count = 0
        for trial in trials:
            repeated = trial.user_attrs.get(attr.REPEATS)
            ask = self.enter(trial.number) if repeated is None else self._asks[repeated]
            self._asks[trial.number] = ask
            self._last[ask] = trial

    def __len__(self) -> int:
        return len(self._asks)

    def enter(self, number: int) -> int:
        """A trial that answers a new ask; the ask."""
        ask, self._count = self._count, self._count + 1
        self._asks[number] = ask
        return ask

    def ask_of(self, number: int) -> int:
        """The ask that a trial answers."""
        return self._asks[number]

    def as_asked(self) -> list[FrozenTrial]:
        """One trial for each ask held at first, numbered by it."""
        seen = []
        for ask, trial in sorted(self._last.items()):
            renumbered = copy(trial)
            renumbered.number = ask
            seen.append(renumbered)
        return seen
