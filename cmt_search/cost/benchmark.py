"""Measured latency and memory of a network."""

import contextlib
import copy
import ctypes
import gc
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.benchmark import Timer
from torch.utils.benchmark.utils.timer import timer as default_timer

from cmt_search.arch import Arch
from cmt_search.cost.cache import CostMeasurement
from cmt_search.cost.config import DTYPES, BenchmarkConfig, Machine, usable_cores
from cmt_search.errors import CmtSearchError

Step = Callable[[], None]  # returns when the device has finished
ImageShape = tuple[int, int, int]  # channels, height, width

_WARM_UP_STEPS = 3
_MIN_TIME_FRACTION = 0.1  # of the time limit, before the threshold is checked
_RESET = Path("/proc/self/clear_refs")
_STATUS = Path("/proc/self/status")


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency(CostMeasurement):
    """Time of a forward pass of a batch."""

    median_ms: float
    iqr_ms: float  # interquartile range
    repeats: int  # passes timed, after the warm-up
    converged: bool  # IQR / median is below the threshold; otherwise the time limit was reached

    @property
    def value(self) -> float:
        """The median. Units: milliseconds."""
        return self.median_ms


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory(CostMeasurement):
    """Memory of a batch.

    Units: MiB; None where it could not be measured, with the reason in `notes`.
    """

    weights_mib: float  # parameters and buffers of the network that is run for inference
    inference_mib: float | None  # peak of a forward pass above the weights
    training_mib: float | None  # peak of a training step above fp32 weights, if requested
    notes: tuple[str, ...]

    @property
    def value(self) -> float:
        """Weights and the peak of a forward pass. Units: MiB.

        Raises:
            CmtSearchError: the peak could not be measured.
        """
        if self.inference_mib is None:
            raise CmtSearchError(
                "memory_mib: this system has no resettable peak of memory; measure on Linux or on "
                "a GPU, or remove the cap and the objective"
            )
        return self.weights_mib + self.inference_mib


@contextlib.contextmanager
def benchmark_context(config: BenchmarkConfig) -> Iterator[BenchmarkConfig]:
    """Set the threads, yield the config with their number; restore threads and random states.

    Raises:
        CmtSearchError: this machine lacks the device, the dtype, the memory or the compiler.
    """
    _check_device(config)
    threads = torch.get_num_threads()
    with torch.random.fork_rng(devices=[] if config.device == "cpu" else [config.device]):
        # Not torch's number: a training in this process may have set it.
        torch.set_num_threads(config.threads or usable_cores())
        try:
            yield replace(config, threads=torch.get_num_threads())
        except torch.OutOfMemoryError as error:
            raise CmtSearchError(
                f"batch={config.batch} does not fit into the memory of {config.device}; "
                "use a smaller batch"
            ) from error
        except RuntimeError as error:
            from torch._dynamo.exc import TorchDynamoException

            if not config.compiled or not isinstance(error, TorchDynamoException):
                raise
            raise CmtSearchError(
                f"compile: torch.compile failed ({str(error).strip().splitlines()[0]}); install a "
                "C++ compiler such as g++ (on a GPU Triton too), or measure without compile"
            ) from error
        finally:
            torch.set_num_threads(threads)


def deployed_copy(module: nn.Module, *, config: BenchmarkConfig) -> nn.Module:
    """Copy a network for inference: on the device, cast, folded and channels-last if configured."""
    copied = copy.deepcopy(module).eval()
    if config.folded:
        from timm.utils import reparameterize_model

        copied = reparameterize_model(copied, inplace=True)
    copied = copied.to(config.device, _dtype(config))
    return copied.to(memory_format=torch.channels_last) if config.channels_last else copied


def inference_step(network: nn.Module, *, shape: ImageShape, config: BenchmarkConfig) -> Step:
    """A forward pass of a `deployed_copy`."""
    run = _compile(network, config=config)
    images = _images(shape, config=config).to(_dtype(config))
    if config.channels_last:
        images = images.contiguous(memory_format=torch.channels_last)

    def step() -> None:
        with torch.inference_mode():
            run(images)
        _synchronize(config.device)

    return step


def training_step(module: nn.Module, *, shape: ImageShape, config: BenchmarkConfig) -> Step:
    """Forward, cross entropy, backward and a first step of AdamW, of a copy in training mode."""
    network = copy.deepcopy(module).to(config.device, torch.float32).train()
    run = _compile(network, config=config)
    images = _images(shape, config=config)
    labels = torch.zeros(config.batch, dtype=torch.int64, device=config.device)
    autocast = torch.autocast(images.device.type, _dtype(config), enabled=config.dtype != "fp32")

    def step() -> None:
        optimizer = torch.optim.AdamW(run.parameters(), fused=True)
        with autocast:
            loss = F.cross_entropy(run(images), labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        _synchronize(config.device)

    return step


def measure_latency(
    module: nn.Module,
    *,
    shape: ImageShape,
    config: BenchmarkConfig,
    clock: Callable[[], float] = default_timer,
) -> Latency:
    """Time forward passes of a deployed copy of `module` by `Timer.adaptive_autorange`.

    Units: milliseconds.
    Raises:
        CmtSearchError: this machine cannot run the config; the message names what it lacks.
    """
    with benchmark_context(config) as used:
        step = inference_step(deployed_copy(module, config=used), shape=shape, config=used)
        for _ in range(_WARM_UP_STEPS):
            step()
        timer = Timer(
            "step()", timer=clock, globals={"step": step}, num_threads=torch.get_num_threads()
        )
        measured = timer.adaptive_autorange(
            threshold=config.threshold,
            min_run_time=_MIN_TIME_FRACTION * config.seconds,
            max_run_time=config.seconds,
        )
    return Latency(
        median_ms=measured.median * 1e3,
        iqr_ms=measured.iqr * 1e3,
        repeats=len(measured.times) * measured.number_per_run,
        converged=len(measured.times) > 3 and measured.meets_confidence(config.threshold),
        config=used,
        machine=Machine.current(config.device),
    )


def measure_memory(
    module: nn.Module,
    *,
    shape: ImageShape,
    config: BenchmarkConfig,
    training: bool = True,
) -> Memory:
    """Measure the peak memory of a forward pass and, if `training`, of a training step.

    A training step is forward, backward and AdamW, with gradients and optimizer state. On a GPU the
    peak is that of torch's allocator, on a CPU that of the resident memory of the process.
    Units: MiB.
    Raises:
        CmtSearchError: this machine cannot run the config; the message names what it lacks.
    """
    notes: list[str] = []
    training_mib = None
    with benchmark_context(config) as used:
        network = deployed_copy(module, config=used)
        inference_mib = _peak_of_second_call(
            inference_step(network, shape=shape, config=used), used
        )
        if inference_mib is None:
            notes.append("peaks, since this system cannot reset them; Linux and GPUs can")
        if training:
            try:
                step = training_step(module, shape=shape, config=used)
                training_mib = _peak_of_second_call(step, used)
            except ValueError as error:
                if "more than 1 value per channel" not in str(error):
                    raise
                notes.append(
                    "training, since batch norms need two values per channel; use a larger batch"
                )
    tensors = [*network.parameters(), *network.buffers()]
    return Memory(
        weights_mib=sum(t.nbytes for t in tensors) / 2**20,
        inference_mib=inference_mib,
        training_mib=training_mib,
        notes=tuple(notes),
        config=used,
        machine=Machine.current(config.device),
    )


def peak_mib(run: Callable[[], object], *, device: str) -> float | None:
    """Peak memory of a call above the memory held before it; None if it cannot be measured.

    Units: MiB.
    """
    gc.collect()
    if device != "cpu":
        _synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        run()
        _synchronize(device)
        return float(torch.cuda.max_memory_allocated(device) - before) / 2**20
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):  # glibc only
        trim(0)  # freed memory would be used again without being counted
    try:
        _RESET.write_text("5")  # resets the peak to the current resident memory
    except OSError:
        return None
    before_kib = _resident_peak_kib()
    run()
    return (_resident_peak_kib() - before_kib) / 1024


def arch_measures(
    build: Callable[[Arch], nn.Module], *, config: BenchmarkConfig
) -> dict[str, Callable[[Arch], CostMeasurement]]:
    """Return functions that build a network and measure its `latency_ms` or `memory_mib`."""

    def measure(arch: Arch, *, by: Callable[..., CostMeasurement]) -> CostMeasurement:
        with torch.random.fork_rng(devices=[]):
            module = build(arch)
        shape = (arch.in_chans, arch.resolution, arch.resolution)
        return by(module, shape=shape, config=config)

    return {
        "latency_ms": partial(measure, by=measure_latency),
        "memory_mib": partial(measure, by=partial(measure_memory, training=False)),
    }


def _compile(network: nn.Module, *, config: BenchmarkConfig) -> nn.Module:
    if not config.compiled:
        return network
    torch.compiler.reset()  # torch stops compiling after a few networks of one class
    return cast("nn.Module", torch.compile(network))


def _dtype(config: BenchmarkConfig) -> torch.dtype:
    dtype: torch.dtype = getattr(torch, DTYPES[config.dtype])
    return dtype


def _images(shape: ImageShape, *, config: BenchmarkConfig) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(config.batch, *shape, generator=generator).to(config.device)


def _synchronize(device: str) -> None:
    torch.get_device_module(device).synchronize(device)  # returns at once on a CPU


def _check_device(config: BenchmarkConfig) -> None:
    if config.device == "cpu":
        if not _is_native_dtype(config.dtype):
            raise CmtSearchError(
                f"dtype={config.dtype}: this processor does not compute in it, and emulation "
                "would be slow; use fp32, or measure on a GPU"
            )
        return
    index = torch.device(config.device).index or 0
    if index >= (count := torch.cuda.device_count()):
        raise CmtSearchError(
            f"device={config.device}: torch sees {count} GPUs here; use cpu, or a torch built "
            "for CUDA on a machine that has the GPU"
        )


def _is_native_dtype(dtype: str) -> bool:
    """Whether oneDNN, which runs torch's convolutions on a CPU, supports this dtype."""
    if dtype == "fp32":
        return True
    is_supported = getattr(torch.ops.mkldnn, f"_is_mkldnn_{dtype}_supported", None)
    return bool(is_supported and is_supported())


def _peak_of_second_call(step: Step, config: BenchmarkConfig) -> float | None:
    step()  # compiles, fills caches, loads libraries
    return peak_mib(step, device=config.device)


def _resident_peak_kib() -> int:
    lines = _STATUS.read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
