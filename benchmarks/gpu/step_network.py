"""The builder's network against a literal rendering of the official code."""

import argparse
from collections.abc import Iterator

import throughput
import torch
from harness import matmul_peak
from plan import Context, Row

EAGER = [("ti-160", dtype, kind) for dtype in ("bf16", "fp32") for kind in ("forward", "step")]
EAGER += [("nano-32", "bf16", kind) for kind in ("forward", "step")]
COMPILED = [("nano-32", "bf16", "step"), ("ti-160", "bf16", "step"), ("ti-160", "bf16", "forward")]
ROUNDS, SECONDS = 15, 10.0  # most of a comparison


def measure(context: Context) -> Iterator[Row]:
    """Yield a row per case and variant; compiled cases last, since compiling takes minutes."""
    cases = [("eager", *case) for case in EAGER] + [("compile", *case) for case in COMPILED]
    if context.quick:
        cases = [("eager", "pico-14", "fp32", kind) for kind in ("forward", "step")]
    named = {", ".join(case): case for case in cases}
    if context.on_gpu:
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    peaks = {
        name: matmul_peak(throughput.DTYPES[name], device=context.device)
        for name in {case[2] for case in cases}
    }
    rounds, seconds = (1, 0.1) if context.quick else (ROUNDS, SECONDS)
    for case in context.pending(named):
        mode, network, dtype, kind = named[case]
        asked = argparse.Namespace(
            cases=[network], dtypes=[dtype], modes=[mode], kinds=[kind], device=context.device
        )
        (setting,) = throughput.settings(asked)
        # All rows of a case at once: one that is cut off is measured again.
        rows = list(throughput.measure(setting, rounds=rounds, seconds=seconds, peaks=peaks))
        for row in rows:
            yield {**row, "network": network, "case": case}
