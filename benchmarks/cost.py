"""Architectures counted per second: the closed form against building and counting.

    OMP_NUM_THREADS=1 python benchmarks/cost.py

`arrays` is `cmt_search.cost.costs` over columns of random depths, widths and resolutions around the
preset; `scalar` is `cmt_search.cost.cost` of one `Arch` after another; `meta` builds the preset on
the meta device and counts a forward pass with torch's FlopCounterMode (twice the MACs; parameters
are summed, activations are not counted); `fvcore` builds it on the CPU, since its tracing fails on
the meta device, and runs fvcore's FlopCountAnalysis. Its "flops" are the MACs of convolutions,
linears and products, equal to ours, plus 5 per element of a LayerNorm and 2 of a BatchNorm: `macs`
is its number over ours. It is skipped where fvcore is not installed. Arrays, scalar and meta are
checked to agree to the digit before they are timed.

Rounds run every way in turn; ratios are medians over rounds of the time per architecture.
`archs_per_s` is by the wall clock, `archs_per_cpu_s` by the process's own processor time, which
other work on the machine hardly changes. All is on one thread.
"""

import argparse
import importlib.metadata
import importlib.util
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from harness import RESULTS, Timing, interleaved, machine, write
from torch.utils.flop_counter import FlopCounterMode

from cmt_search.arch import Arch
from cmt_search.builder import CMT
from cmt_search.cost import cost, costs
from cmt_search.presets import PRESETS

COUNTS = {"arrays": 2**20, "scalar": 256, "meta": 1, "fvcore": 1}  # architectures in a run


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument(
        "--presets", nargs="+", choices=list(PRESETS), default=["cmt_s", "cmt_nano"]
    )
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=60, help="most seconds of a comparison")
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    packages = ["torch", "numpy"]
    if has_fvcore := importlib.util.find_spec("fvcore") is not None:
        packages.append("fvcore")
    else:
        print("fvcore: skipped, since it is not installed; pip install fvcore")
    where = {**machine(device="cpu", packages=tuple(packages)), "fvcore": "not installed"}
    if has_fvcore:
        where["fvcore"] = importlib.metadata.version("fvcore")
    rows = []
    for preset in args.presets:
        runs, relative = ways(PRESETS[preset], fvcore=has_fvcore)
        cpu: dict[str, list[float]] = {way: [] for way in runs}
        timings = interleaved(
            {way: on_cpu_clock(run, cpu[way]) for way, run in runs.items()},
            reference="scalar",
            rounds=args.rounds,
            seconds=args.seconds,
        )
        for row in rates(timings, cpu):
            rows.append({**where, "preset": preset, **row, "macs": relative[row["way"]]})
            print(preset, *row.values(), relative[row["way"]], flush=True)
    write("cost", rows, device="cpu", out=args.out)


def on_cpu_clock(run: Callable[[], object], seconds: list[float]) -> Callable[[], None]:
    """The run, which notes its processor time."""

    def noted() -> None:
        began = time.process_time()
        run()
        seconds.append(time.process_time() - began)

    return noted


def ways(
    base: Arch, *, fvcore: bool
) -> tuple[dict[str, Callable[[], object]], dict[str, float | str]]:
    """A run of every way of counting, and each one's MACs over the closed form's."""
    columns = random_columns(base, n=COUNTS["arrays"])
    archs = [arch_at(base, columns, i=i) for i in range(COUNTS["scalar"])]
    check(base, columns, archs)
    runs: dict[str, Callable[[], object]] = {
        "arrays": lambda: costs(base, **columns),
        "scalar": lambda: [cost(arch) for arch in archs],
        "meta": lambda: meta_counts(base),
    }
    relative: dict[str, float | str] = dict.fromkeys(runs, 1.0)
    if fvcore:
        runs["fvcore"] = lambda: fvcore_macs(base)
        relative["fvcore"] = round(fvcore_macs(base) / cost(base).macs, 4)
    return runs, relative


def rates(timings: dict[str, Timing], cpu: dict[str, list[float]]) -> Iterator[dict[str, Any]]:
    """Architectures per second, and the ratio to the scalar form."""
    for way, timing in timings.items():
        count = COUNTS[way] / COUNTS["scalar"]
        yield {
            "way": way,
            "archs_per_run": COUNTS[way],
            "rounds": timing.rounds,
            "archs_per_s": round(COUNTS[way] / timing.seconds, 3),
            "archs_per_cpu_s": round(COUNTS[way] / statistics.median(cpu[way]), 3),
            "ratio_to_scalar": round(timing.ratio * count, 6),
            "ratio_q1": round(timing.ratio_q1 * count, 6),
            "ratio_q3": round(timing.ratio_q3 * count, 6),
        }


def random_columns(base: Arch, *, n: int) -> dict[str, Any]:
    """Half to twice every depth, width and side, independently."""
    rng = np.random.default_rng(0)
    depths, heads, head_dims = (
        np.array([getattr(stage, name) for stage in base.stages])
        for name in ("depth", "heads", "head_dim")
    )
    shape = (n, len(base.stages))
    return {
        "resolution": rng.integers(base.resolution // 2, base.resolution * 2, n),
        "stem_width": rng.integers(base.stem_width // 2, base.stem_width * 2, n),
        "depth": rng.integers(np.maximum(1, depths // 2), depths * 2 + 1, shape),
        "width": rng.integers(head_dims // 2, head_dims * 2, shape) * heads,
    }


def arch_at(base: Arch, columns: dict[str, Any], *, i: int) -> Arch:
    """The network of one row."""
    stages = tuple(
        replace(stage, depth=int(columns["depth"][i, k]), width=int(columns["width"][i, k]))
        for k, stage in enumerate(base.stages)
    )
    side, stem = int(columns["resolution"][i]), int(columns["stem_width"][i])
    return replace(base, resolution=side, stem_width=stem, stages=stages)


def check(base: Arch, columns: dict[str, Any], archs: list[Arch]) -> None:
    """Stop when the ways disagree."""
    vectorised = costs(base, **{name: column[: len(archs)] for name, column in columns.items()})
    for i, arch in enumerate(archs):
        scalar = cost(arch)
        if (vectorised.params[i], vectorised.macs[i]) != (scalar.params, scalar.macs):
            raise SystemExit(f"arrays and scalar disagree on {arch}")
    if meta_counts(base) != (cost(base).params, 2 * cost(base).macs):
        raise SystemExit(f"the closed form and torch disagree on {base}")


def meta_counts(arch: Arch) -> tuple[int, int]:
    """Parameters and FLOPs as torch counts them."""
    with torch.device("meta"):
        model = CMT(arch).eval()
        image = torch.empty(1, arch.in_chans, arch.resolution, arch.resolution)
    with FlopCounterMode(display=False) as counter:
        model(image)
    return sum(p.numel() for p in model.parameters()), counter.get_total_flops()


def fvcore_macs(arch: Arch) -> float:
    """What fvcore calls flops."""
    from fvcore.nn import FlopCountAnalysis

    model = CMT(arch).eval()
    image = torch.zeros(1, arch.in_chans, arch.resolution, arch.resolution)
    counted = FlopCountAnalysis(model, image)
    counted.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    return float(counted.total())


if __name__ == "__main__":
    main()
