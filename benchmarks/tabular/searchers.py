"""Searches replayed on a table: ours through the scheduler, Syne Tune's by its own scheduler."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
from tabular.benchmark_data import BenchmarkData
from tabular.spaces import TabularRuleSpace, TabularShapeSpace
from tabular.table import TabularEvaluator

from cmt_search.evaluation import SEEDS_PER_REPLICATE
from cmt_search.search import Event, JobFinished
from cmt_search.search.executors.inline import InlineExecutor
from cmt_search.search.scheduler import Scheduler
from cmt_search.search.storage import StudyStore
from cmt_search.space.schema import Sampler

MAX_REPEATED = 100  # consecutive suggestions without a new training that end a search


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One training that a search paid for."""

    spent: float  # MACs of the search, with this training
    network: str
    epochs: int
    seed_index: int  # among the replayed seeds
    top1: float


@dataclass(slots=True, kw_only=True)
class Trace:
    """Trainings of a search, in order. A longer training continues the shorter one."""

    data: BenchmarkData
    limit: float  # MACs
    steps: list[Step] = field(default_factory=list)
    n_repeated: int = 0  # consecutive answers that cost nothing
    _reached: dict[tuple[str, int], int] = field(default_factory=dict)  # epochs trained so far

    @property
    def spent(self) -> float:
        """MACs so far."""
        return self.steps[-1].spent if self.steps else 0.0

    @property
    def over(self) -> bool:
        """Whether the search has had its compute, or wants nothing more of the table."""
        return self.spent >= self.limit or self.n_repeated >= MAX_REPEATED

    def add(self, network: str, *, epochs: int, seed_index: int, top1: float) -> None:
        """Add a training; a repeated one costs nothing."""
        before = self._reached.get((network, seed_index), 0)
        if epochs <= before:
            self.n_repeated += 1
            return
        self.n_repeated = 0
        cost = self.data.training_macs(network, epochs=epochs - before)
        self._reached[network, seed_index] = epochs
        self.steps.append(
            Step(
                spent=self.spent + cost,
                network=network,
                epochs=epochs,
                seed_index=seed_index,
                top1=top1,
            )
        )

    def within(self, spent: float) -> list[Step]:
        """Steps until a number of MACs was spent."""
        return [step for step in self.steps if step.spent <= spent * (1 + 1e-9)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Searcher:
    """A way to search, by its name in figures and tables."""

    name: str
    kind: str  # rule or shape
    halving: bool
    sampler: Sampler | None = None  # None: Syne Tune's ASHA
    large_only: bool = False  # of a rule search: only the largest budget is measured
    trials: int = 120

    def space(self, data: BenchmarkData, *, seed: int) -> TabularRuleSpace | TabularShapeSpace:
        """The table as this searcher sees it."""
        first, last = data.lengths
        options: dict[str, Any] = {
            "data": data,
            "sampler": self.sampler or Sampler(name="random", rules=()),
            "seed": seed,
            "trials": self.trials,
            "epoch_schedule": (first, last) if self.halving else (last,),
            "reduction_factor": factor(data) if self.halving else None,
        }
        if self.kind == "shape":
            return TabularShapeSpace(**options)
        budgets = data.budgets[-1:] if self.large_only else ()
        return TabularRuleSpace(**options, budgets=budgets)

    def search(
        self, data: BenchmarkData, *, seeds: tuple[int, ...], seed: int, limit: float
    ) -> Trace:
        """Search with these of the table's seeds, up to so many MACs."""
        space = self.space(data, seed=seed)
        trace = Trace(data=data, limit=limit)
        if self.sampler is None:
            replay_asha(space, trace, seeds=seeds, seed=seed)
        else:
            replay(space, trace, seeds=seeds)
        return trace


def factor(data: BenchmarkData) -> int:
    """Of halving between the shortest and the longest training: the ratio of their lengths."""
    first, last = data.lengths
    return max(2, round(last / first))


# Ours.


def replay(
    space: TabularRuleSpace | TabularShapeSpace, trace: Trace, *, seeds: tuple[int, ...]
) -> None:
    """A search of ours, as a run makes it: scheduler, sampler, halving, inline executor."""

    def note(event: Event) -> None:
        if not isinstance(event, JobFinished):
            return
        measurement = event.measurement
        if measurement is None:  # more seeds were asked for than are replayed
            trace.n_repeated += 1
            return
        seed_index = (event.job.seed - space.seed) // SEEDS_PER_REPLICATE
        trace.add(
            event.job.arch.key,
            epochs=event.job.fidelity.epochs,
            seed_index=seed_index,
            top1=measurement.top1,
        )

    scheduler = Scheduler(space, StudyStore.in_memory(space.objectives), on_event=note)
    evaluator = TabularEvaluator.read(
        trace.data.path, seeds=seeds, first_seed=space.seed, seeds_per_rung=space.seeds
    )
    InlineExecutor().run(scheduler, lambda: evaluator, stop=lambda: trace.over)


# Syne Tune's.


def replay_asha(
    space: TabularRuleSpace | TabularShapeSpace, trace: Trace, *, seeds: tuple[int, ...], seed: int
) -> None:
    """Syne Tune's ASHA with its random searcher, reporting every epoch.

    It measures the network of the largest budget alone, from the first of the seeds, and stops
    a trial between its epochs: in its favour, no epoch of the table is paid for twice.
    """
    from syne_tune.backend.trial_status import Trial
    from syne_tune.config_space import finrange, uniform
    from syne_tune.optimizer.schedulers.asha import AsynchronousSuccessiveHalving

    data = trace.data
    parameters = [p for p in space.parameters() if not p.group]
    np.random.seed(seed)
    scheduler = AsynchronousSuccessiveHalving(
        {
            p.name: finrange(p.low, p.high, p.steps) if p.steps else uniform(p.low, p.high)
            for p in parameters
        },
        metric="top1",
        do_minimize=False,
        time_attr="epoch",
        max_t=data.lengths[-1],
        grace_period=data.lengths[0],
        reduction_factor=factor(data),
        random_seed=seed,
    )
    number = 0
    while not trace.over:
        config = scheduler.suggest().config
        trial = Trial(trial_id=number, config=config, creation_time=datetime.now())
        scheduler.on_trial_add(trial)
        network = space.candidate({"budget": 0, **config}).rungs[-1].arch.key
        for epochs in data.table.lengths:
            top1 = data.top1(network, seed=seeds[0], epochs=epochs)
            trace.add(network, epochs=epochs, seed_index=0, top1=top1)
            if scheduler.on_trial_result(trial, {"epoch": epochs, "top1": top1}) != "CONTINUE":
                break
        number += 1


# All of them.

_POPULATION = 4  # Sobol points before a model asks for shapes: the table is small
_NAMED = ("efficientnet", "dwr", "depth-only", "width-only", "resolution-only", "uniform")


def searchers() -> Iterator[Searcher]:
    """Every sampler here, with and without halving, and Syne Tune's ASHA."""
    for halving in (False, True):
        named = {"augmented": False, "rules": ("cmt-paper", *_NAMED)}
        begun = Sampler(name="gp", lattice=1, replicates=1, **named)
        rules = {
            "design": Sampler(name="design", lattice=5, replicates=3, **named),
            "gp": begun,
            "tpe": begun.model_copy(update={"name": "tpe"}),
            "random": Sampler(name="random", lattice=0, replicates=1, rules=()),
        }
        for name, sampler in rules.items():
            trials = 45 if name == "gp" else 120
            yield Searcher(name=name, kind="rule", halving=halving, sampler=sampler, trials=trials)
        yield Searcher(
            name="random, one budget",
            kind="rule",
            halving=halving,
            sampler=rules["random"],
            large_only=True,
        )
        for name in ("sobol", "tpe", "gp", "nsga2", "cmaes", "grid", "random"):
            trials = 40 if name == "gp" else 120
            yield Searcher(
                name=name,
                kind="shape",
                halving=halving,
                sampler=Sampler(name=name, initial_points=_POPULATION),
                trials=trials,
            )
    yield Searcher(name="ASHA (Syne Tune)", kind="rule", halving=True, large_only=True)
    yield Searcher(name="ASHA (Syne Tune)", kind="shape", halving=True)
