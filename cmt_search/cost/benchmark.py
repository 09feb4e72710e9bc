"""Measured latency and memory of a network."""

import bisect
import contextlib
import copy
import ctypes
import gc
import json
import math
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cmt_search.arch import Arch
from cmt_search.cost.setting import DTYPES, BenchmarkConfig, Machine
from cmt_search.errors import CmtSearchError, RunError
from cmt_search.io import atomic_write

Pass = Callable[[], None]  # returns when the device has finished


@contextlib.contextmanager
def conditions(setting: BenchmarkConfig) -> Iterator[BenchmarkConfig]:
    """The setting, its threads decided; the process's threads and random numbers are kept.

    Raises:
        CmtSearchError: this machine lacks the device, the dtype, the memory or the compiler.
    """
    _check(setting)
    before = torch.get_num_threads()
    gpus = [] if setting.device == "cpu" else [setting.device]
    with torch.random.fork_rng(devices=gpus):
        torch.set_num_threads(setting.threads or before)
        try:
            yield replace(setting, threads=torch.get_num_threads())
        except torch.OutOfMemoryError as error:
            raise CmtSearchError(
                f"batch={setting.batch} does not fit into the memory of {setting.device}; "
                "use a smaller batch"
            ) from error
        except RuntimeError as error:
            if not setting.compiled or not _from_compiler(error):
                raise
            raise CmtSearchError(
                f"compile: torch.compile failed ({str(error).strip().splitlines()[0]}); install a "
                "C++ compiler such as g++ (on a GPU Triton too), or measure without compile"
            ) from error
        finally:
            torch.set_num_threads(before)


def inference_pass(
    module: nn.Module, *, shape: tuple[int, int, int], setting: BenchmarkConfig
) -> Pass:
    """A forward pass in eval mode of a copy that is cast to the setting's dtype.

    Shape: `shape` is (channels, height, width) of an image.
    """
    dtype: torch.dtype = getattr(torch, DTYPES[setting.dtype])
    run = _prepared(module, setting=setting, dtype=dtype, training=False)
    images = _images(shape, setting=setting).to(dtype)

    def forward() -> None:
        with torch.inference_mode():
            run(images)
        _finish(setting.device)

    return forward


def training_step(
    module: nn.Module, *, shape: tuple[int, int, int], setting: BenchmarkConfig
) -> Pass:
    """Forward, cross entropy, backward and a first step of AdamW, of a copy in train mode.

    Shape: `shape` is (channels, height, width) of an image.
    """
    run = _prepared(module, setting=setting, dtype=torch.float32, training=True)
    images = _images(shape, setting=setting)
    labels = torch.zeros(setting.batch, dtype=torch.int64, device=setting.device)
    dtype: torch.dtype = getattr(torch, DTYPES[setting.dtype])
    kind = torch.device(setting.device).type

    def step() -> None:
        optimizer = torch.optim.AdamW(run.parameters(), fused=True)
        with torch.autocast(kind, dtype=dtype, enabled=dtype is not torch.float32):
            loss = F.cross_entropy(run(images), labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        _finish(setting.device)

    return step


def _prepared(
    module: nn.Module, *, setting: BenchmarkConfig, dtype: torch.dtype, training: bool
) -> nn.Module:
    """A copy on the device, so that the caller's module stays as it is."""
    copied = copy.deepcopy(module).to(setting.device, dtype).train(training)
    if not setting.compiled:
        return copied
    torch.compiler.reset()  # or torch gives up compiling after a few networks of one class
    return cast("nn.Module", torch.compile(copied))


def _images(shape: tuple[int, int, int], *, setting: BenchmarkConfig) -> Tensor:
    """The same images every time."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(setting.batch, *shape, generator=generator).to(setting.device)


def _finish(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize(device)


def _check(setting: BenchmarkConfig) -> None:
    if setting.device == "cpu":
        if not _computes_in(setting.dtype):
            raise CmtSearchError(
                f"dtype={setting.dtype}: this processor does not compute in it, and imitating it "
                "would be slow; use fp32, or measure on a GPU"
            )
        return
    index = torch.device(setting.device).index or 0
    if index >= (count := torch.cuda.device_count()):
        raise CmtSearchError(
            f"device={setting.device}: torch sees {count} GPUs here; use cpu, or a torch built "
            "for CUDA on a machine that has the GPU"
        )


def _computes_in(dtype: str) -> bool:
    """Whether oneDNN, which runs torch's convolutions on a CPU, takes this type natively."""
    if dtype == "fp32":
        return True
    asked = getattr(torch.ops.mkldnn, f"_is_mkldnn_{dtype}_supported", None)
    return bool(asked and asked())


def _from_compiler(error: RuntimeError) -> bool:
    from torch._dynamo.exc import TorchDynamoException

    return isinstance(error, TorchDynamoException)


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
    setting: BenchmarkConfig
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

    `build` makes the module: LatencyOf(build=build, setting=BenchmarkConfig(threads=1))(arch).
    """

    build: Callable[[Arch], nn.Module]
    setting: BenchmarkConfig
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
    setting: BenchmarkConfig,
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


def _timed(
    run: Pass, *, setting: BenchmarkConfig, clock: Callable[[], float]
) -> tuple[list[float], float]:
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


_RESET = Path("/proc/self/clear_refs")
_STATUS = Path("/proc/self/status")


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Memory of a batch, and how and where it was measured.

    Units: MiB; None where it could not be measured, and `notes` say why.
    """

    weights_mib: float  # parameters and buffers, cast to the setting's dtype
    inference_mib: float | None  # what a forward pass adds, at most
    training_mib: float | None  # what a training step adds to fp32 weights, at most, if asked for
    notes: tuple[str, ...]
    setting: BenchmarkConfig
    machine: Machine

    @property
    def value(self) -> float:
        """Weights and the peak of a forward pass: what caps and objectives look at. Units: MiB.

        Raises:
            CmtSearchError: the peak could not be measured.
        """
        if self.inference_mib is None:
            raise CmtSearchError(
                "memory_mib: this system keeps no peak of memory that a process can reset; measure "
                "on Linux or on a GPU, or remove the cap and the objective"
            )
        return self.weights_mib + self.inference_mib

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**asdict(self), "notes": list(self.notes)}


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryOf:
    """Arch -> its memory in a forward pass: a cap or an objective for a search.

    `build` makes the module: MemoryOf(build=build, setting=BenchmarkConfig())(arch).
    """

    build: Callable[[Arch], nn.Module]
    setting: BenchmarkConfig

    def __call__(self, arch: Arch) -> float:
        """Weights and what a forward pass adds. Units: MiB."""
        return self.figure(arch).value

    def figure(self, arch: Arch) -> Memory:
        """The whole measurement, without a training step."""
        shape = (arch.in_chans, arch.resolution, arch.resolution)
        with torch.random.fork_rng(devices=[]):
            module = self.build(arch)
        return measure_memory(module, shape=shape, setting=self.setting, training=False)


def measure_memory(
    module: nn.Module,
    *,
    shape: tuple[int, int, int],
    setting: BenchmarkConfig,
    training: bool = True,
) -> Memory:
    """Peak memory of a forward pass and, unless left out, of a training step of copies of `module`.

    A training step is forward, backward and AdamW; its gradients and the optimizer's state count.
    On a GPU the peak is that of torch's allocator, on a CPU that of the process's resident memory.
    Shape: `shape` is (channels, height, width) of an image.
    Units: MiB.
    Raises:
        CmtSearchError: this machine cannot measure so; the message names what it lacks.
    """
    notes: list[str] = []
    peaks: list[float | None] = []
    with conditions(setting) as decided:
        for make in (inference_pass, training_step) if training else (inference_pass,):
            run = make(module, shape=shape, setting=decided)
            try:
                run()  # compiles, fills caches, loads libraries
            except ValueError as error:
                if "more than 1 value per channel" not in str(error):
                    raise
                notes.append(
                    "training, since batch norms need two values per channel; use a larger batch"
                )
                peaks.append(None)
                continue
            peaks.append(peak_mib(run, device=setting.device))
            del run
    if peaks[0] is None:
        notes.append(
            "peaks, since this system keeps none that a process can reset; Linux and GPUs do"
        )
    return Memory(
        weights_mib=_weights_mib(module, dtype=getattr(torch, DTYPES[setting.dtype])),
        inference_mib=peaks[0],
        training_mib=peaks[1] if training else None,
        notes=tuple(notes),
        setting=decided,
        machine=Machine.here(setting.device),
    )


def peak_mib(run: Callable[[], object], *, device: str) -> float | None:
    """What a call adds, at most, to the memory held before it; None where no peak can be reset.

    Units: MiB.
    """
    gc.collect()
    if device != "cpu":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        held = torch.cuda.memory_allocated(device)
        run()
        torch.cuda.synchronize(device)
        return float(torch.cuda.max_memory_allocated(device) - held) / 2**20
    _return_free_memory()
    try:
        _RESET.write_text("5")  # the peak becomes what is resident now
    except OSError:
        return None
    before = _peak_kib()
    run()
    return (_peak_kib() - before) / 1024


def _return_free_memory() -> None:
    """What was freed before is not to be taken again without being counted."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # of glibc alone
    if trim:
        trim(0)


def _peak_kib() -> int:
    lines = _STATUS.read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def _weights_mib(module: nn.Module, *, dtype: torch.dtype) -> float:
    tensors = [*module.parameters(), *module.buffers()]
    size = sum(t.numel() * (dtype if t.is_floating_point() else t.dtype).itemsize for t in tensors)
    return size / 2**20


class Figure(Protocol):
    """What was measured of one network, with the setting and the machine."""

    @property
    def value(self) -> float:
        """The one number that caps and objectives look at."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """Arch -> a figure, from the file where it is held, else measured and put there.

    A second measurement would give another number, and a resumed run other candidates. The file is
    that of one run, whose fingerprint fixes the setting; several figures may share it.
    """

    file: Path
    name: str  # of the figure, such as latency_ms
    measure: Callable[[Arch], Figure]
    machine: Machine  # this one

    def __call__(self, arch: Arch) -> float:
        """The figure in its unit.

        Raises:
            RunError: the file cannot be read or written.
        """
        held = read_kept(self.file)
        figures = held.setdefault(self.name, {})
        if arch.key not in figures:
            figure = self.measure(arch)
            figures[arch.key] = {"value": figure.value, **figure.to_dict()}
            _write(self.file, json.dumps(held, indent=1) + "\n")
        return float(figures[arch.key]["value"])

    def check(self) -> None:
        """Refuse to go on with figures of another machine: they would not compare with new ones.

        Raises:
            RunError: hardware or torch differ.
        """
        here = self.machine
        for figure in read_kept(self.file).get(self.name, {}).values():
            there = figure["machine"]
            if (there["hardware"], there["torch"]) != (here.hardware, here.torch):
                raise RunError(
                    f"{self.file}: {self.name} was measured on {there['hardware']} with torch "
                    f"{there['torch']}, and this is {here.hardware} with torch {here.torch}: the "
                    "figures would not compare; go on there, or start a new run with another --name"
                )


def read_kept(file: Path) -> dict[str, dict[str, dict[str, Any]]]:
    """The figures in a file, by name and by key of the network; none where there is no file.

    Raises:
        RunError: it cannot be read.
    """
    if not file.exists():
        return {}
    try:
        found: dict[str, dict[str, dict[str, Any]]] = json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise RunError(
            f"{file} cannot be read ({error}); restore it from a copy, or start a new run"
        ) from error
    return found


def _write(file: Path, text: str) -> None:
    try:
        atomic_write(file, text)
    except OSError as error:
        raise RunError(f"{file} cannot be written ({error.strerror}); free its folder") from error
