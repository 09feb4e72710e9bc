"""Measured latency of a network: the half of cost that depends on the machine."""

import bisect
import math
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import nn

from cmt_search.arch import Arch
from cmt_search.cost.passes import Pass, conditions, inference_pass
from cmt_search.cost.setting import Machine, Setting

_WARM_UP = 3  # passes at least
_WARM_UP_SHARE = 0.05  # of the time limit, spent warming up at least
_SETTLED_AFTER = 10  # passes at the earliest
_LEAST = 3  # passes, however long each takes


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Time of a forward pass of a batch, and how and where it was measured."""

    median_ms: float
    low_ms: float  # 10% of the passes were faster
    high_ms: float  # 10% were slower
    error: float  # half of the median's 95% interval over the median, if passes are independent
    repeats: int  # passes timed, after the warm-up
    settled: bool  # by the error asked for; otherwise the time limit ended it
    setting: Setting
    machine: Machine

    @property
    def value(self) -> float:
        """What caps and objectives look at. Units: milliseconds."""
        return self.median_ms

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyOf:
    """Arch -> milliseconds, measured once per network: a cap or an objective for a search.

    `build` makes the module: LatencyOf(build=build, setting=Setting(threads=1))(arch).
    """

    build: Callable[[Arch], nn.Module]
    setting: Setting
    known: dict[str, Latency] = field(default_factory=dict, compare=False, repr=False)

    def __call__(self, arch: Arch) -> float:
        """Median time of a forward pass. Units: milliseconds."""
        return self.figure(arch).median_ms

    def figure(self, arch: Arch) -> Latency:
        """The whole measurement."""
        if arch.key not in self.known:
            shape = (arch.in_chans, arch.resolution, arch.resolution)
            with torch.random.fork_rng(devices=[]):
                module = self.build(arch)
            self.known[arch.key] = measure_latency(module, shape=shape, setting=self.setting)
        return self.known[arch.key]


def measure_latency(
    module: nn.Module,
    *,
    shape: tuple[int, int, int],
    setting: Setting,
    clock: Callable[[], float] = time.perf_counter,
) -> Latency:
    """Time forward passes of a copy of `module` until their median is settled or time is up.

    Shape: `shape` is (channels, height, width) of an image.
    Units: milliseconds.
    Raises:
        CmtSearchError: this machine cannot measure so; the message names what it lacks.
    """
    with conditions(setting) as decided:
        run = inference_pass(module, shape=shape, setting=decided)
        began, passes = clock(), 0
        while passes < _WARM_UP or clock() - began < _WARM_UP_SHARE * setting.seconds:
            run()
            passes += 1
        times, error = _timed(run, setting=setting, clock=clock)
    low, *_, high = statistics.quantiles(times, n=10, method="inclusive")
    return Latency(
        median_ms=statistics.median(times) * 1e3,
        low_ms=low * 1e3,
        high_ms=high * 1e3,
        error=error,
        repeats=len(times),
        settled=len(times) >= _SETTLED_AFTER and error <= setting.error,
        setting=decided,
        machine=Machine.here(setting.device),
    )


def _timed(run: Pass, *, setting: Setting, clock: Callable[[], float]) -> tuple[list[float], float]:
    """Seconds of the passes, in order of size, and the error of their median."""
    times: list[float] = []
    began = clock()
    while True:
        start = clock()
        run()
        end = clock()
        bisect.insort(times, end - start)
        error = median_error(times)
        settled = len(times) >= _SETTLED_AFTER and error <= setting.error
        if settled or (len(times) >= _LEAST and end - began >= setting.seconds):
            return times, error


def median_error(ordered: list[float]) -> float:
    """Half of the 95% interval of a median, by ranks, over the median.

    Source: the number of values below the true median is binomial with p = 1/2.
    """
    count = len(ordered)
    rank = max(0, math.floor(count / 2 - 0.98 * math.sqrt(count)) - 1)
    return (ordered[count - 1 - rank] - ordered[rank]) / 2 / statistics.median(ordered)
