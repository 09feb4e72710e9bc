"""How and where a network is measured: plain values, without torch."""

import platform
import re
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Self

from cmt_search.errors import SpaceError

DTYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}  # by torch's names


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkConfig:
    """How latency and memory are measured; only figures of equal configs compare.

    In a search, the driver measures each network once, before it is trained. Trainings on the same
    cores or GPU disturb the measurement: give Ray fewer --slots, or a cluster of its own.
    For inference the network and its images are cast to `dtype`, on a CPU as on a GPU. A training
    step keeps its weights in fp32 and runs under autocast, as trainings do.
    """

    device: str = "cpu"  # or cuda, or cuda:1
    threads: int | None = 1  # of the CPU; null: as many as the process has
    batch: int = 1  # images in a pass
    dtype: str = "fp32"  # or bf16, fp16
    compiled: bool = False  # by torch.compile
    error: float = 0.02  # passes are timed until the relative error of the median is below this,
    seconds: float = 2.0  # or until they have taken this long

    def __post_init__(self) -> None:
        if not re.fullmatch(r"cpu|cuda(:\d+)?", self.device):
            raise SpaceError(f"device={self.device!r} is unknown; use cpu, cuda or cuda:1")
        if self.threads is not None and self.threads < 1:
            raise SpaceError(f"threads={self.threads} cannot compute; use 1 or more")
        if self.batch < 1:
            raise SpaceError(f"batch={self.batch} holds no image; use 1 or more")
        if self.dtype not in DTYPES:
            raise SpaceError(f"dtype={self.dtype!r} is unknown; use {', '.join(DTYPES)}")
        if not self.error > 0 or not self.seconds > 0:
            raise SpaceError(
                f"error={self.error}, seconds={self.seconds}: both are above 0; use 0.01 and 10"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Where a figure was measured, and with what."""

    hardware: str  # the processor or GPU
    torch: str  # version
    cmt_search: str  # version

    @classmethod
    def here(cls, device: str) -> Self:
        """This machine, as seen from `device`."""
        return cls(
            hardware=hardware_name(device),
            torch=_version("torch"),
            cmt_search=_version("cmt-search"),
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def hardware_name(device: str) -> str:
    """The GPU's name, or the processor's."""
    if device != "cpu":
        import torch

        return str(torch.cuda.get_device_name(device))
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return next(iter(named), platform.processor() or platform.machine())


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
