"""Images per second of a captured training, an eager one, a plain loop and timm's loop."""

import os
from collections.abc import Iterator
from dataclasses import replace

import proxy
import torch
from harness import matmul_peak
from plan import Context, Row

from cmt_search.arch import Arch
from cmt_search.presets import PRESETS
from cmt_search.scaling import Budget, solve_width

NETWORKS = {  # preset whose widths are solved, MACs, pixels
    "1M-32": ("cmt_pico", 1e6, 32),
    "10M-32": ("cmt_micro", 10e6, 32),
    "50M-32": ("cmt_micro", 50e6, 32),
    "10M-64": ("cmt_nano", 10e6, 64),
    "50M-64": ("cmt_micro", 50e6, 64),
    "640M-160": ("cmt_ti", 640e6, 160),
}
BATCHES = (256, 1024)
IMAGES = {32: 65536, 64: 32768, 160: 8192}  # of an epoch, by side
ROUNDS, SECONDS = 5, 20.0  # most of a comparison


def measure(context: Context) -> Iterator[Row]:
    """Yield a row per network, batch and variant."""
    names = ["1M-32"] if context.quick else list(NETWORKS)
    batches = (16,) if context.quick else BATCHES
    cases = {f"{name}, batch {batch}": (name, batch) for name in names for batch in batches}
    dtype = torch.bfloat16 if context.on_gpu else torch.float32
    peak = matmul_peak(dtype, device=context.device)
    for case in context.pending(cases):
        name, batch = cases[case]
        arch = network(name)
        setting = proxy.Setting(
            case=case,
            arch=arch,
            batch=batch,
            images=32 if context.quick else max(IMAGES[arch.resolution], 4 * batch),
            device=context.device,
            workers=min(12, os.cpu_count() or 1) if context.on_gpu else 0,
        )
        rounds, seconds = (1, 1.0) if context.quick else (ROUNDS, SECONDS)
        try:
            # All rows of a case at once: one that is cut off is measured again.
            yield from list(proxy.measure(setting, rounds=rounds, seconds=seconds, peak=peak))
        except torch.OutOfMemoryError:
            yield {"case": case, "resolution": arch.resolution, "batch": batch, "images_per_s": ""}


def network(name: str) -> Arch:
    """Build a network of these MACs at this side, by the widths of a preset."""
    preset, macs, side = NETWORKS[name]
    base = replace(PRESETS[preset], num_classes=proxy.CLASSES)
    budget = Budget(macs=macs, tolerance=0.05)
    return solve_width(base, depth=base.depth, resolution=side, budget=budget).arch
