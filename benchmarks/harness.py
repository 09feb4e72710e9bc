"""What the benchmarks share: interleaved timing, memory, the machine, CSV files."""

import csv
import datetime
import importlib.metadata
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from cmt_search.cost.config import hardware_name

Clock = Callable[[], float]
ISA = os.environ.get("ONEDNN_MAX_CPU_ISA", "")  # set it to AVX2 to measure as on an older processor
RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """What a candidate took, and the reference's time over its own in the same round."""

    seconds: float  # median over rounds
    ratio: float  # reference / own, median over rounds
    ratio_q1: float  # quartiles of the ratio
    ratio_q3: float
    rounds: int


def interleaved(
    runs: Mapping[str, Callable[[], object]],
    *,
    reference: str,
    rounds: int,
    seconds: float,
    device: str = "cpu",
    clock: Clock = time.perf_counter,
) -> dict[str, Timing]:
    """Time every run in turn, round after round, so that a slow moment affects all of them.

    On a shared machine, `clock=time.process_time` leaves out the time that other programs take;
    it is for runs of one thread in this process.
    """
    times: dict[str, list[float]] = {name: [] for name in runs}
    began = time.perf_counter()
    done = 0
    while done < 3 or (done < rounds and time.perf_counter() - began < seconds):
        for name, run in runs.items():
            times[name].append(timed(run, device=device, clock=clock))
        done += 1
    timings = {}
    for name, taken in times.items():
        ratios = [base / own for base, own in zip(times[reference], taken, strict=True)]
        q1, q2, q3 = statistics.quantiles(ratios, n=4, method="inclusive")
        timings[name] = Timing(
            seconds=statistics.median(taken), ratio=q2, ratio_q1=q1, ratio_q3=q3, rounds=done
        )
    return timings


def timed(
    run: Callable[[], object], *, device: str = "cpu", clock: Clock = time.perf_counter
) -> float:
    """Return the seconds of one call."""
    _synchronise(device)
    start = clock()
    run()
    _synchronise(device)
    return clock() - start


def step_clock(device: str, *, workers: int = 0) -> Clock:
    """Return the CPU time of the process where that is all that a run takes, else wall time."""
    alone = device == "cpu" and torch.get_num_threads() == 1 and not workers
    return time.process_time if alone else time.perf_counter


def matmul_peak(dtype: torch.dtype, *, device: str) -> float:
    """FLOP/s of a large square matrix product: the best of several."""
    side = 8192 if device == "cuda" else 1536
    a = torch.randn(side, side, device=device).to(dtype)
    best = min(timed(lambda: torch.mm(a, a), device=device) for _ in range(12))
    return 2 * side**3 / best


def machine(*, device: str, packages: tuple[str, ...] = ("torch", "timm")) -> dict[str, Any]:
    """Hardware and versions, for every row."""
    return {
        "date": datetime.date.today().isoformat(),
        "commit": commit(),
        "hardware": hardware_name(device),
        "isa": ISA or torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in packages},
    }


def commit() -> str:
    """Return the commit that is checked out, or nothing outside a repository."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def write(theme: str, rows: list[dict[str, Any]], *, device: str, out: Path = RESULTS) -> Path:
    """Rows as CSV, in a file named by theme, hardware and date."""
    date = datetime.date.today().isoformat()
    isa = f"-{ISA.lower()}" if ISA else ""
    path = out / f"{theme}-{device}{isa}-{torch.get_num_threads()}threads-{date}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def _synchronise(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()
