"""Configuration of a benchmark and description of a machine: plain values, without torch."""

import os
import platform
import re
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Literal, Self

from annotated_types import Interval

from cmt_search.errors import SpaceError
from cmt_search.fields import check_fields

DTYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}  # by torch's names


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkConfig:
    """How latency and memory are measured; only measurements of equal configs compare.

    In a search, the driver measures each network once, before it is trained. Trainings on the same
    cores or GPU disturb the measurement: give Ray fewer --slots, or a cluster of its own.
    For inference the network and its images are cast to `dtype`, on a CPU as on a GPU. A training
    step keeps its weights in fp32 and runs under autocast, as trainings do.
    """

    device: str = "cpu"  # or cuda, or cuda:1
    threads: Annotated[int, Interval(ge=1, le=4096)] | None = 1  # of the CPU; null: all
    batch: Annotated[int, Interval(ge=1, le=65_536)] = 1  # images in a pass
    dtype: Literal["fp32", "bf16", "fp16"] = "fp32"
    compiled: bool = False  # by torch.compile
    folded: bool = True  # batch norms are folded into convolutions for inference, as when deployed
    channels_last: bool = True  # memory format for inference
    threshold: Annotated[float, Interval(gt=0, le=10)] = 0.05  # timing ends at this IQR / median
    seconds: Annotated[float, Interval(gt=0, le=1e7)] = 2.0  # time limit

    def __post_init__(self) -> None:
        check_fields(self)
        if not re.fullmatch(r"cpu|cuda(:\d+)?", self.device):
            raise SpaceError(f"device={self.device!r} is unknown; use cpu, cuda or cuda:1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Hardware and versions of a measurement."""

    hardware: str  # the processor or GPU
    torch: str  # version
    cmt_search: str  # version

    @classmethod
    def current(cls, device: str) -> Self:
        """Describe this machine, with the hardware of `device`."""
        return cls(
            hardware=hardware_name(device),
            torch=version("torch"),
            cmt_search=_own_version(),
        )


def _own_version() -> str:
    try:
        return version("cmt-search")
    except PackageNotFoundError:  # run from a checkout
        return "not installed"


def hardware_name(device: str) -> str:
    """Return the name of the GPU or processor."""
    if device != "cpu":
        import torch

        return str(torch.cuda.get_device_name(device))
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return next(iter(names), platform.processor() or platform.machine())


def usable_cores() -> int:
    """Count the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
