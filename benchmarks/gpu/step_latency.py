"""Latency and memory of networks as they are deployed: norms folded, channels-last."""

import itertools
from collections.abc import Iterator
from dataclasses import replace

from plan import Context, Row

from cmt_search.builder import CMT
from cmt_search.cost.benchmark import measure_latency, measure_memory
from cmt_search.cost.config import BenchmarkConfig
from cmt_search.presets import PRESETS

NAMES = ("cmt_nano", "cmt_micro", "cmt_ti", "cmt_s")
BATCHES = (1, 64, 256)
DTYPES = ("fp32", "bf16", "fp16")


def measure(context: Context) -> Iterator[Row]:
    """Yield a row per network, batch, type and folding."""
    names, batches, dtypes = NAMES, BATCHES, DTYPES
    if context.quick:
        names, batches, dtypes = ("cmt_pico",), (1,), ("fp32",)
    grid = itertools.product(names, batches, dtypes, (True, False))
    named = {
        f"{name}, batch {batch}, {dtype}{'' if folded else ', not folded'}": BenchmarkConfig(
            device=context.device,
            threads=1,
            batch=batch,
            dtype=dtype,
            folded=folded,
            seconds=0.05 if context.quick else 1.0,
        )
        for name, batch, dtype, folded in grid
    }
    for case in context.pending(named):
        name, config = case.split(",")[0], named[case]
        arch = replace(PRESETS[name], num_classes=10)
        network, shape = CMT(arch), (arch.in_chans, arch.resolution, arch.resolution)
        latency = measure_latency(network, shape=shape, config=config)
        memory = measure_memory(network, shape=shape, config=config, training=False)
        yield {
            "case": case,
            "network": name,
            "batch": config.batch,
            "dtype": config.dtype,
            "folded": config.folded,
            "median_ms": round(latency.median_ms, 4),
            "iqr_ms": round(latency.iqr_ms, 4),
            "images_per_s": round(1000 * config.batch / latency.median_ms, 1),
            "memory_mib": memory.inference_mib,
        }
