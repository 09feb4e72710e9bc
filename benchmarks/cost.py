"""Architectures counted per second: the closed form against building and counting.

    OMP_NUM_THREADS=1 python benchmarks/cost.py

`arrays` is `cmt_search.cost.costs` over columns of random depths, widths and resolutions around the
preset; `scalar` is `cmt_search.cost.cost` of one `Arch` after another; `meta` builds the network on
the meta device and counts a forward pass with torch's FlopCounterMode (twice the MACs; parameters
are summed, activations are not counted); `fvcore` builds it likewise and traces it with fvcore's
FlopCountAnalysis, whose "flop" is a multiply-accumulate, normalisations (5 per element for
LayerNorm, 2 for BatchNorm) are added and operators that it does not know are left out: `relative`
is its number over our MACs. It is skipped where fvcore is not installed. Arrays, scalar and meta
are checked to agree to the digit before they are timed. Rounds run every way in turn; ratios are
medians over rounds of the time per architecture.
"""

import argparse
import importlib.metadata
import importlib.util
import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from harness import RESULTS, Timing, interleaved, machine, write
from torch.utils.flop_counter import FlopCounterMode

from cmt_search.arch import Arch
from cmt_search.builder import build
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
    logging.getLogger("fvcore").setLevel(logging.ERROR)  # names each operator left out
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
        timings = interleaved(runs, reference="scalar", rounds=args.rounds, seconds=args.seconds)
        for row in rates(timings):
            rows.append({**where, "preset": preset, **row, "relative": relative[row["way"]]})
            print(preset, *row.values(), relative[row["way"]], flush=True)
    write("cost", rows, device="cpu", out=args.out)


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


def rates(timings: dict[str, Timing]) -> Iterator[dict[str, Any]]:
    """Architectures per second, and the ratio to the scalar form."""
    for way, timing in timings.items():
        count = COUNTS[way] / COUNTS["scalar"]
        yield {
            "way": way,
            "archs_per_run": COUNTS[way],
            "rounds": timing.rounds,
            "archs_per_s": round(COUNTS[way] / timing.seconds, 3),
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
    found = costs(base, **{name: column[: len(archs)] for name, column in columns.items()})
    for i, arch in enumerate(archs):
        own = cost(arch)
        if (found.params[i], found.macs[i]) != (own.params, own.macs):
            raise SystemExit(f"arrays and scalar disagree on {arch}")
    if meta_counts(base) != (cost(base).params, 2 * cost(base).macs):
        raise SystemExit(f"the closed form and torch disagree on {base}")


def on_meta(arch: Arch) -> tuple[torch.nn.Module, torch.Tensor]:
    """The network and an image without memory."""
    with torch.device("meta"):
        return build(arch).eval(), torch.empty(1, arch.in_chans, arch.resolution, arch.resolution)


def meta_counts(arch: Arch) -> tuple[int, int]:
    """Parameters and FLOPs as torch counts them."""
    model, image = on_meta(arch)
    with FlopCounterMode(display=False) as counter:
        model(image)
    return sum(p.numel() for p in model.parameters()), counter.get_total_flops()


def fvcore_macs(arch: Arch) -> float:
    """What fvcore calls flops."""
    from fvcore.nn import FlopCountAnalysis

    model, image = on_meta(arch)
    return float(FlopCountAnalysis(model, image).unsupported_ops_warnings(False).total())


if __name__ == "__main__":
    main()
