"""Measured latency of a module: the half of cost that depends on the machine."""

import statistics
import time
from dataclasses import dataclass

import torch
from torch import nn


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Time of one forward pass, in eval mode and fp32, and where it was measured."""

    median_ms: float
    low_ms: float  # 10% of the passes were faster
    high_ms: float  # 10% were slower
    batch: int
    repeats: int
    device: str
    threads: int
    torch: str  # version


def measure_latency(
    module: nn.Module, *, shape: tuple[int, ...], device: str = "cpu", repeats: int = 50
) -> Latency:
    """Time `module` on random images, after a warm-up of a fifth of the repeats.

    Shape: `shape` is (batch, channels, height, width).
    Units: milliseconds.
    """
    target = torch.device(device)
    module = module.to(target).eval()
    images = torch.randn(shape, device=target)
    seconds = []
    with torch.inference_mode():
        for i in range(repeats + repeats // 5):
            start = time.perf_counter()
            module(images)
            if target.type == "cuda":
                torch.cuda.synchronize(target)
            if i >= repeats // 5:
                seconds.append(time.perf_counter() - start)
    tenths = statistics.quantiles(seconds, n=10)
    return Latency(
        median_ms=statistics.median(seconds) * 1e3,
        low_ms=tenths[0] * 1e3,
        high_ms=tenths[-1] * 1e3,
        batch=shape[0],
        repeats=repeats,
        device=torch.cuda.get_device_name(target) if target.type == "cuda" else "cpu",
        threads=torch.get_num_threads(),
        torch=str(torch.__version__),
    )
