"""Regret against compute of every sampler and of halving, replayed on a table of real trainings.

    PYTHONPATH=. python benchmarks/search_efficiency.py --processes 2 --image
    PYTHONPATH=. python benchmarks/search_efficiency.py --repeats 6 --searchers design --out /tmp

Per repeat some of the table's seeds are replayed to the searches, each with a search seed of its
own; the other seeds score. Regret is the score of what the full grid of the seeds replayed measured
best, less that of what the search answers (`tabular.answers`), in points of top1 at the largest
budget. Seeds score that chose neither: regret is unbiased, and may be below zero. Compute is MACs
of training over those of the full grid: every network, every seed replayed, trained for longest.
"Less random's" is said of plain random search (no halving, by what it measured), of the same that
measures the largest budget alone, and of one alike in halving and answer, where only the asking
differs; below zero is better. Two kinds of search:

rule   the triangle of shares, both budgets measured; "one budget": only the largest
shape  depth and side at the largest budget, which is then the full grid

A candidate is the nearest of the table's networks; one that comes again is answered at no cost.
Intervals are percentiles of a bootstrap over repeats: of this table, over splits and search seeds.
Beside the project: `uv pip install cmaes`, and `uv pip install --no-deps syne-tune dill psutil`, as
ASHA does without the rest of what Syne Tune brings.
"""

import argparse
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from harness import RESULTS, machine, write
from numpy.typing import NDArray
from tabular.answers import ANSWERS, Split, full_grid, score, splits
from tabular.benchmark_data import BenchmarkData, variance_summary
from tabular.plot import plot_regret
from tabular.searchers import Searcher, searchers
from tabular.text import summary

TABLE = Path(__file__).parent / "tabular" / "fashion.csv"
IMAGE = Path(__file__).parent.parent / "docs" / "images" / "search-efficiency.png"
FRACTIONS = (0.05, 0.1, 0.15, 0.2, 0.3)  # of the full grid's compute
PACKAGES = ("optuna", "syne-tune", "cmaes", "numpy")
_BOOTSTRAP = 10_000

Key = tuple[str, str, bool, str, float]
"""Kind, searcher, halving, answer, fraction of the grid."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredAnswer:
    """The answer of one search at a fraction of the grid's compute."""

    key: Key
    repeat: int
    spent: float  # of the full grid's MACs
    score: float  # of the answer, points of top1
    grid: float  # score of the full grid's answer
    blind: float  # score of a network drawn blindly


def main() -> None:
    """Replay, write, plot and print."""
    args = arguments()
    data = read(args.table)
    seeds = data.table.seeds
    ways = splits(seeds, seen=args.seen or -(-len(seeds) // 2), repeats=args.repeats)
    work = partial(repeat, args.table, only=args.searchers)
    answers: list[ScoredAnswer] = []
    with ProcessPoolExecutor(args.processes) as pool:
        for number, each in enumerate(pool.map(work, range(len(ways)), ways)):
            answers += each
            print(f"repeat {number + 1} of {len(ways)}", flush=True)
    rows = list(summarised(answers, data=data, ways=ways))
    path = write("search-efficiency", rows, device="cpu", out=args.out)
    print(summary(rows, variance=variance_summary(data), path=path))
    if args.image is not None:
        print(plot_regret(rows, to=args.image))


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--table", type=Path, default=TABLE, help="its CSV file; the JSON lies beside it")
    add("--repeats", type=int, default=24, help="search seeds, each with a split of the seeds")
    add("--seen", type=int, help="seeds replayed; the others score (default: half, rounded up)")
    add("--processes", type=int, default=1)
    add("--searchers", nargs="+", help="these and random's only (default: all)")
    add("--out", type=Path, default=RESULTS)
    add("--image", type=Path, nargs="?", const=IMAGE, help="draw to this PNG file")
    return parser.parse_args()


@cache
def read(table: Path) -> BenchmarkData:
    """The table, once for each process."""
    return BenchmarkData.read(table)


def repeat(
    table: Path, number: int, split: Split, *, only: Sequence[str] | None
) -> list[ScoredAnswer]:
    """All searchers on one split of the table's seeds."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore")  # of Optuna's experimental samplers
    data = read(table)
    return [
        answer
        for searcher in searchers()
        if not only or searcher.name in only or searcher.name.startswith("random")
        for answer in run(searcher, data, split=split, number=number)
    ]


def run(
    searcher: Searcher, data: BenchmarkData, *, split: Split, number: int
) -> Iterator[ScoredAnswer]:
    """One search, asked for its answers when it has spent each part of the grid's compute."""
    keys = data.largest if searcher.kind == "shape" else None
    grid = data.macs(keys) * len(split.seen)
    trace = searcher.search(data, seeds=split.seen, seed=number, limit=FRACTIONS[-1] * grid)
    scores = data.scores(split.scoring)
    ideal = score(_ideal(data, split), scores)  # one zero for all, or rows could not be compared
    for name in ANSWERS if searcher.kind == "rule" and searcher.sampler else ("measured",):
        for fraction in FRACTIONS:
            steps = trace.within(fraction * grid)
            value = score(ANSWERS[name](data, steps), scores)
            yield ScoredAnswer(
                key=(searcher.kind, searcher.name, searcher.halving, name, fraction),
                repeat=number,
                spent=steps[-1].spent / grid if steps else 0.0,
                score=value,
                grid=ideal,
                blind=score(None, scores),
            )


@cache
def _ideal(data: BenchmarkData, split: Split) -> str | None:
    """What the full grid measured best."""
    return ANSWERS["measured"](data, full_grid(data, seen=split.seen))


# Over repeats.


def summarised(
    answers: Sequence[ScoredAnswer], *, data: BenchmarkData, ways: Sequence[Split]
) -> Iterator[dict[str, Any]]:
    """A row per searcher, answer and moment."""
    by_key: dict[Key, dict[int, ScoredAnswer]] = {}
    for answer in answers:
        by_key.setdefault(answer.key, {})[answer.repeat] = answer
    whole, variance = data.macs(), variance_summary(data)
    about = machine(device="cpu", packages=PACKAGES)
    for key, each in by_key.items():
        kind, name, halving, answer, fraction = key
        regrets = _values(by_key, key, "grid") - _values(by_key, key, "score")
        low, high = interval(regrets)
        blind = _values(by_key, key, "grid") - _values(by_key, key, "blind")
        grid = data.macs(data.largest) if kind == "shape" else whole
        yield {
            **about,
            "kind": kind, "searcher": name, "halving": halving, "answer": answer,
            "of_grid": fraction, "repeats": len(each), "seeds_seen": len(ways[0].seen),
            "grid_macs": f"{grid * len(ways[0].seen):.4g}",
            "spent_of_grid": round(float(np.mean([answer.spent for answer in each.values()])), 4),
            "regret": round(float(regrets.mean()), 4),
            "regret_low": low, "regret_high": high,
            "blind_regret": round(float(blind.mean()), 4),
            **_compared("random", by_key, key=key, to=_plain(key)),
            **_compared("random_one_budget", by_key, key=key, to=_cheapest(key)),
            **_compared("random_alike", by_key, key=key, to=(kind, "random", *key[2:])),
            "networks": variance.networks, "seeds": variance.seeds,
            "seed_sd": round(variance.within, 4), "network_sd": round(variance.between, 4),
        }  # fmt: skip


def _plain(key: Key) -> Key:
    """Random search of the same kind, without halving, by what it measured."""
    return (key[0], "random", False, "measured", key[-1])


def _cheapest(key: Key) -> Key:
    """Random search that measures nothing but the largest budget, which shapes do anyway."""
    name = "random, one budget" if key[0] == "rule" else "random"
    return (key[0], name, False, "measured", key[-1])


def _compared(
    name: str, by_key: dict[Key, dict[int, ScoredAnswer]], *, key: Key, to: Key
) -> dict[str, Any]:
    """How far a random search is ahead, repeat by repeat: regret less its regret."""
    less = _values(by_key, to, "score") - _values(by_key, key, "score")
    low, high = interval(less)
    mean = round(float(less.mean()), 4)
    return {f"less_{name}": mean, f"less_{name}_low": low, f"less_{name}_high": high}


def _values(by_key: dict[Key, dict[int, ScoredAnswer]], key: Key, name: str) -> NDArray[np.float64]:
    return np.array([getattr(by_key[key][i], name) for i in sorted(by_key[key])])


def interval(values: NDArray[np.float64]) -> tuple[float, float]:
    """95% interval of the mean, by resampling repeats."""
    picks = np.random.default_rng(0).integers(len(values), size=(_BOOTSTRAP, len(values)))
    low, high = np.quantile(values[picks].mean(axis=1), [0.025, 0.975])
    return round(float(low), 4), round(float(high), 4)


if __name__ == "__main__":
    main()
