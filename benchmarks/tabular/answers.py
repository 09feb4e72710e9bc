"""What a search answers from what it trained, and how far the answer lies behind the full grid's.

measured   The network of the largest budget with the highest mean top1 over its seeds trained for
           longest; of equals the one trained first. While none is trained for longest: the same at
           the longest length there is.
posterior  The network whose realised shares have the highest mean under the Gaussian process of the
           verdict (`fit_gaussian_process`), fitted to all trainings of the longest length at every
           budget, among all of the table: also those not trained. While there are too few
           networks for it: the measured answer.
Without any training of the largest budget the answer is blind: the mean over its networks.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from tabular.benchmark_data import BenchmarkData
from tabular.searchers import Step

from cmt_search.errors import AnalysisError
from cmt_search.stats import fit_gaussian_process

_DRAWS = 1000  # of the posterior, for its mean

Answer = Callable[[BenchmarkData, Sequence[Step]], str | None]
"""Key of a network of the largest budget; None: blind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Which of the table's seeds a search sees, and which score its answer."""

    seen: tuple[int, ...]  # in the order in which trainings get them
    scoring: tuple[int, ...]


def splits(seeds: Sequence[int], *, seen: int, repeats: int) -> tuple[Split, ...]:
    """All ways of choosing `seen` of the seeds, over and over, each repeat in another order."""
    ways = list(combinations(seeds, seen))
    return tuple(_split(ways[i % len(ways)], seeds=seeds, repeat=i) for i in range(repeats))


def _split(chosen: tuple[int, ...], *, seeds: Sequence[int], repeat: int) -> Split:
    order = np.random.default_rng(repeat).permutation(len(chosen))
    return Split(
        seen=tuple(chosen[int(i)] for i in order),
        scoring=tuple(seed for seed in seeds if seed not in chosen),
    )


def measured(data: BenchmarkData, steps: Sequence[Step]) -> str | None:
    """The network that measured best."""
    large = set(data.largest)
    at_largest = [step for step in steps if step.network in large]
    longest = max((step.epochs for step in at_largest), default=0)
    scores: dict[str, list[float]] = {}
    for step in at_largest:
        if step.epochs == longest:
            scores.setdefault(step.network, []).append(step.top1)
    return max(scores, key=lambda key: float(np.mean(scores[key])), default=None)


def posterior(data: BenchmarkData, steps: Sequence[Step]) -> str | None:
    """The network that is predicted best."""
    rows = [step for step in steps if step.epochs == data.lengths[-1]]
    rungs = [data.by_key[step.network] for step in rows]
    try:
        process = fit_gaussian_process(
            [step.top1 for step in rows],
            shares=[rung.realised.values for rung in rungs if rung.realised],
            log_macs_ratio=np.array([rung.log_macs_ratio for rung in rungs], dtype=float),
            budget=np.array([rung.budget for rung in rungs], dtype=float),
            network=[step.network for step in rows],
            seed=0,
            draws=_DRAWS,
        )
    except AnalysisError:
        return measured(data, steps)
    rules = [data.by_key[key].realised for key in data.largest]
    effect = process.effect([shares.values for shares in rules if shares]).mean(axis=0)
    return data.largest[int(effect.argmax())]


ANSWERS: dict[str, Answer] = {"measured": measured, "posterior": posterior}


def full_grid(data: BenchmarkData, *, seen: Sequence[int]) -> list[Step]:
    """Every network trained for longest from every seed seen."""
    epochs = data.lengths[-1]
    return [
        Step(
            spent=0.0,
            network=key,
            epochs=epochs,
            seed_index=seed_index,
            top1=data.top1(key, seed=seed),
        )
        for seed_index, seed in enumerate(seen)
        for key in data.by_key
    ]


def score(key: str | None, scores: dict[str, float]) -> float:
    """Points of top1 that an answer has from seeds that no search saw."""
    return float(np.mean(list(scores.values()))) if key is None else scores[key]
