"""Measured memory of a network: what its weights hold, and what a pass adds to that at most."""

import ctypes
import gc
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from cmt_search.arch import Arch
from cmt_search.cost.passes import conditions, inference_pass, training_step
from cmt_search.cost.setting import DTYPES, Machine, Setting
from cmt_search.errors import CmtSearchError

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
    setting: Setting
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

    `build` makes the module: MemoryOf(build=build, setting=Setting())(arch).
    """

    build: Callable[[Arch], nn.Module]
    setting: Setting

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
    module: nn.Module, *, shape: tuple[int, int, int], setting: Setting, training: bool = True
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
