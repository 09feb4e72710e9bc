"""What a search costs beside its trainings, with jobs that only sleep.

    PYTHONPATH=. python benchmarks/orchestration.py --out benchmarks/results
    PYTHONPATH=. python benchmarks/orchestration.py --quick     # a minute, for a look

overhead  Seconds per job that a slot is not training and the sampler is not asking, against stock
          Ray Tune (`OptunaSearch`, a function trainable, its default of a process per trial) doing
          the same jobs on the same cluster; rounds alternate. Counted from when as many processes
          as slots have worked to the last job handed out: starting and ending count for neither.
busy      The share of that window in which slots train, on a cluster of several nodes
          (`ray.cluster_utils.Cluster`) whose cores exist in Ray's books only: sleeping needs none.
many      A long search: seconds and the driver's own CPU seconds per job in the first and the last
          thousand, both without asking, and what its resident memory grows by per job.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from harness import RESULTS, machine, write

from cmt_search.evaluation import Measurement
from cmt_search.search import Event, JobFinished, RunDir, run_search
from cmt_search.search.driver import prepare_ray
from cmt_search.search.sampling.generator import CandidateGenerator
from tests.search.lookup import FakeSampler, FakeSpace, measure

PACKAGES = ("ray", "optuna")
LATTICE = {"design": 30, "random": 0, "tpe": 0}  # 496 points; the others are asked from the start
PAGE = os.sysconf("SC_PAGE_SIZE")
Row = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dummy:
    """An evaluator, and its own factory: sleeps, and notes when."""

    log: Path
    seconds: float

    def __call__(self, *arch: Any, **how: Any) -> Any:
        """The factory's call has no argument, the evaluator's has."""
        if not arch:
            return self
        with noted(self.log, seconds=self.seconds):
            how = {"fidelity": how["fidelity"], "seed": how["seed"]}
            answer: Measurement = measure(*arch, **how)
        return answer


@contextmanager
def noted(log: Path, *, seconds: float) -> Iterator[None]:
    """Sleep, do what is asked, and append when that began and ended; a line is one write."""
    began = time.time()
    time.sleep(seconds)
    yield
    with log.open("a") as file:
        file.write(f"{began} {time.time()} {os.getpid()}\n")


def main() -> None:
    """Measure, print and write."""
    args = arguments()
    prepare_ray(local=True)
    for part in args.parts:
        rows: list[Row] = []
        for row in PARTS[part](args):
            load = {"load": round(os.getloadavg()[0], 1)}  # of the machine, others' work included
            rows.append({**machine(device="cpu", packages=PACKAGES), **load, **row})
            print(row, flush=True)
            write(f"orchestration-{part}", rows, device="cpu", out=args.out)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--parts", nargs="+", default=list(PARTS), choices=list(PARTS))
    add("--rounds", type=int, default=3, help="of ours and stock in turn")
    add("--jobs", type=int, default=60, help="of ours per round")
    add("--stock-jobs", type=int, default=10, help="of stock per round: each takes seconds")
    add("--job-seconds", type=float, default=0.1, help="of a job where overhead is measured")
    add("--slots", type=int, nargs="+", default=[16, 64], help="where business is measured")
    add("--nodes", type=int, default=4)
    add("--waves", type=int, default=10, help="jobs per slot where business is measured")
    add("--busy-seconds", type=float, default=4.0, help="of a job there")
    add("--many", type=int, default=10_000, help="jobs of the long search")
    add("--many-samplers", nargs="+", default=["random"], choices=["random", "tpe"])
    add("--executors", nargs="+", default=["inline", "ray"], help="of the long search")
    add("--minutes", type=float, default=5.0, help="limit of each long search")
    add("--quick", action="store_true", help="small sizes throughout")
    add("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    if args.quick:
        args.rounds, args.jobs, args.stock_jobs = 1, 20, 4
        args.slots, args.waves, args.busy_seconds, args.nodes = [4], 3, 1.0, 2
        args.many, args.minutes = 2_200, 0.5
    return args


# Overhead against stock.


def overhead(args: argparse.Namespace) -> Iterator[Row]:
    """Both sides with two slots, round after round."""
    slots = 2
    sides: dict[tuple[str, str], Callable[[Path], Spent]] = {}
    for name in LATTICE:
        sides["ours", name] = lambda folder, name=name: ours(
            folder, sampler=name, jobs=args.jobs, seconds=args.job_seconds, slots=slots
        )
    for name in ("random", "tpe"):
        sides["stock", name] = lambda folder, name=name: stock(
            folder, sampler=name, jobs=args.stock_jobs, seconds=args.job_seconds, slots=slots
        )
    spent: dict[tuple[str, str], list[Spent]] = {key: [] for key in sides}
    with cluster(slots=slots, nodes=1):
        for _ in range(args.rounds):
            for key, side in sides.items():
                with tempfile.TemporaryDirectory() as folder:
                    spent[key].append(side(Path(folder)))
    for (side, name), rounds in spent.items():
        jobs = sum(each.jobs for each in rounds)
        idle = sum(each.idle for each in rounds) / jobs
        asking = sum(each.asking for each in rounds) / sum(each.asked for each in rounds)
        yield {
            "side": side, "sampler": name, "slots": slots,
            "nodes": 1, "jobs": jobs, "job_s": args.job_seconds, "idle_s": round(idle, 4),
            "asking_s": round(asking, 5), "overhead_s": round(idle - asking, 4),
        }  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """Where the slots' time went, while all of them were in use."""

    jobs: int  # begun in the window
    idle: float  # slot seconds without a job
    busy: float  # slot seconds with one
    asked: int
    asking: float  # seconds


def ours(folder: Path, *, sampler: str, jobs: int, seconds: float, slots: int) -> Spent:
    """A search of ours on the Ray that runs."""
    log = folder / "log"
    run = RunDir.create(folder / "run", space_yaml="", fingerprint="f00d")
    with timing(CandidateGenerator, "ask") as clock:
        run_search(
            run, space(sampler, trials=jobs), Dummy(log=log, seconds=seconds),
            executor="ray", slots=slots,
        )  # fmt: skip
    return spent(log, slots=slots, clock=clock)


def stock(folder: Path, *, sampler: str, jobs: int, seconds: float, slots: int) -> Spent:
    """The same jobs as Ray Tune's own searcher and a function would do them."""
    import optuna
    from ray import tune
    from ray.tune.search.optuna import OptunaSearch

    log, point = folder / "log", space(sampler, trials=1)
    arch = point.candidate({"depth": 0.5, "width": 0.5}).rungs[0].arch
    fidelity = point.candidate({"depth": 0.5, "width": 0.5}).rungs[0].fidelity

    def train(config: dict[str, float]) -> None:
        with noted(log, seconds=seconds):
            found = measure(arch, fidelity=fidelity, seed=0)
        tune.report({"top1": found.top1 + 0 * config["depth"]})

    samplers = {"random": optuna.samplers.RandomSampler, "tpe": optuna.samplers.TPESampler}
    search = OptunaSearch(
        {name: optuna.distributions.FloatDistribution(0, 1) for name in ("depth", "width")},
        sampler=samplers[sampler](seed=0), metric="top1", mode="max",
    )  # fmt: skip
    tuner = tune.Tuner(
        train,
        tune_config=tune.TuneConfig(
            search_alg=search, num_samples=jobs, max_concurrent_trials=slots
        ),
        run_config=tune.RunConfig(name="stock", storage_path=str(folder), verbose=0),
    )
    with timing(OptunaSearch, "suggest") as clock:
        tuner.fit()
    return spent(log, slots=slots, clock=clock)


def spent(log: Path, *, slots: int, clock: "Clock") -> Spent:
    """Read a log: from when as many processes as slots have worked to the last job handed out."""
    lines = [line.split() for line in log.read_text().splitlines()]
    spans = sorted((float(began), float(ended)) for began, ended, _ in lines)
    firsts: dict[str, float] = {}
    for began, _, process in sorted(lines, key=lambda line: float(line[0])):
        firsts.setdefault(process, float(began))
    begins = [began for began, _ in spans]
    start, end = ([*firsts.values(), *slots * [begins[-1]]])[slots - 1], begins[-1]
    if start >= end:
        raise SystemExit(f"{slots} slots were never all in use: raise --jobs or --waves")
    busy = sum(max(0.0, min(ended, end) - max(began, start)) for began, ended in spans)
    return Spent(
        jobs=sum(start < began <= end for began in begins),
        idle=slots * (end - start) - busy,
        busy=busy,
        asked=len(clock.seconds),
        asking=sum(clock.seconds),
    )


# Business.


def busy(args: argparse.Namespace) -> Iterator[Row]:
    """How much of the time slots train, by number of slots."""
    for slots in args.slots:
        with cluster(slots=slots, nodes=args.nodes), tempfile.TemporaryDirectory() as folder:
            found = ours(
                Path(folder), sampler="random", jobs=slots * args.waves,
                seconds=args.busy_seconds, slots=slots,
            )  # fmt: skip
        whole = found.busy + found.idle
        yield {
            "slots": slots, "nodes": args.nodes, "jobs": found.jobs, "job_s": args.busy_seconds,
            "busy": round(found.busy / whole, 4), "idle_s": round(found.idle / found.jobs, 4),
        }  # fmt: skip


# A long search.


@dataclass(slots=True)
class Watch:
    """Listens to a search: when, and at what cost, each job came back."""

    clock: "Clock"
    marks: list[tuple[float, float, float, int]] = field(default_factory=list)

    def __call__(self, event: Event) -> None:
        """Note wall time, CPU time, time spent asking and resident memory."""
        if isinstance(event, JobFinished):
            asking = self.clock.total
            mark = (time.perf_counter(), time.process_time(), asking, resident())
            self.marks.append(mark)

    def per_job(self, thousand: slice) -> tuple[float, float, float]:
        """Wall and CPU seconds without asking, and asking, per job of a stretch."""
        stretch = self.marks[thousand]
        jobs = len(stretch) - 1
        wall, cpu, asking = (
            (late - early) / jobs
            for late, early in zip(stretch[-1][:3], stretch[0][:3], strict=True)
        )
        return wall - asking, cpu - asking, asking


def many(args: argparse.Namespace) -> Iterator[Row]:
    """Jobs of no length, as many as wanted or as fit in the time; a process for each search.

    Forked, so that memory which one search frees does not hide what the next one takes, and before
    this process has used Ray, whose threads would not survive it.
    """
    for executor in args.executors:
        for sampler in args.many_samplers:
            with get_context("fork").Pool(1) as pool:
                yield pool.apply(long_search, (args, executor, sampler))


def long_search(args: argparse.Namespace, executor: str, sampler: str) -> Row:
    """One search; the first jobs, which import and open things, do not count."""
    slots, warm = (2 if executor == "ray" else 1), 50
    with tempfile.TemporaryDirectory() as folder, timing(CandidateGenerator, "ask") as clock:
        watch = Watch(clock)
        run = RunDir.create(Path(folder) / "run", space_yaml="", fingerprint="f00d")
        log = Path(folder) / "log"
        with cluster(slots=slots, nodes=1) if executor == "ray" else nothing():
            run_search(
                run, space(sampler, trials=args.many), Dummy(log=log, seconds=0.0),
                executor=executor, slots=slots, on_event=watch, time_limit=60 * args.minutes,
            )  # fmt: skip
    marks = watch.marks
    length = min(1000, (len(marks) - warm) // 2)
    first, first_cpu, first_ask = watch.per_job(slice(warm, warm + length))
    last, last_cpu, last_ask = watch.per_job(slice(len(marks) - length, len(marks)))
    grown = (marks[-1][3] - marks[warm + length][3]) / (len(marks) - warm - length)
    return {
        "sampler": sampler, "executor": executor, "slots": slots,
        "nodes": 1, "jobs": len(marks), "job_s": 0.0, "first_s": round(first, 5),
        "last_s": round(last, 5), "last_over_first": round(last / first, 3),
        "first_cpu_s": round(first_cpu, 5), "last_cpu_s": round(last_cpu, 5),
        "asking_first_s": round(first_ask, 5), "asking_last_s": round(last_ask, 5),
        "rss_kb_per_job": round(grown / 1024, 1), "rss_mb": round(marks[-1][3] / 2**20),
    }  # fmt: skip


# What they share.


def space(sampler: str, *, trials: int) -> FakeSpace:
    """Networks fine enough that hardly any two coincide, of one rung each."""
    return replace(
        FakeSpace(),
        kind="rule" if sampler == "design" else "pareto",
        trials=trials,
        epochs=(1,),
        grid=2000,
        sampler=FakeSampler(name=sampler, lattice=LATTICE[sampler], replicates=1),
    )


@dataclass(slots=True)
class Clock:
    """Time spent in a function."""

    seconds: list[float] = field(default_factory=list)
    total: float = 0.0

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, timed."""

        def timed(*args: Any, **kwargs: Any) -> Any:
            began = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                self.seconds.append(time.perf_counter() - began)
                self.total += self.seconds[-1]

        return timed


@contextmanager
def timing(owner: type, name: str) -> Iterator[Clock]:
    """Time a class's method."""
    clock, plain = Clock(), getattr(owner, name)
    setattr(owner, name, clock.around(plain))
    try:
        yield clock
    finally:
        setattr(owner, name, plain)


@contextmanager
def nothing() -> Iterator[None]:
    """No cluster."""
    yield


@contextmanager
def cluster(*, slots: int, nodes: int) -> Iterator[None]:
    """A head without slots, and nodes that claim to have cores for all of them."""
    import ray
    from ray.cluster_utils import Cluster

    store = 80 * 2**20  # bytes; the least that Ray takes
    head = {"num_cpus": 0, "object_store_memory": store, "include_dashboard": False}
    here = Cluster(initialize_head=True, head_node_args=head)
    try:
        for _ in range(nodes):
            here.add_node(num_cpus=-(-slots // nodes), object_store_memory=store)
        ray.init(address=here.address, log_to_driver=False)
        yield
    finally:
        ray.shutdown()
        here.shutdown()


def resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


PARTS: dict[str, Callable[[argparse.Namespace], Iterator[Row]]] = {
    "many": many,  # first, because it forks
    "overhead": overhead,
    "busy": busy,
}

if __name__ == "__main__":
    main()
