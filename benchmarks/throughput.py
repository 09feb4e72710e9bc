"""Speed and memory of CMT as built here, against a literal rendering, interleaved in one process.

    python benchmarks/throughput.py --threads 2 --out benchmarks/results

Variants: `literal` is benchmarks/literal_cmt.py; `literal-nchw` the same with every map copied into
NCHW order; `ours` what `cmt_search.builder` builds; `ours-folded` that after timm's
`reparameterize_model`, for inference; `ours-convolved`, for steps in eager mode, `ours` without its
kernels for small maps. A step is forward, cross entropy, backward and AdamW.
Rounds run every variant in turn; ratios are medians over rounds, so that a slow moment of a shared
machine meets all variants alike. Images/s are medians as well. `peak_mib` is what a pass adds to
the memory held before it. `of_matmul_peak` is 2 * MACs * images/s (3 times that in a step) over
what a large matrix product reaches here in the same dtype.
"""

import argparse
import contextlib
import copy
import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from harness import RESULTS, interleaved, machine, matmul_peak, step_clock, write
from literal_cmt import LiteralCMT, copy_weights
from timm.utils import reparameterize_model
from torch import Tensor, nn
from torch.nn import functional as F

from cmt_search.arch import Arch
from cmt_search.builder import CMT, layers
from cmt_search.cost import cost
from cmt_search.cost.benchmark import peak_mib
from cmt_search.presets import PRESETS

CASES = {  # preset, resolution, channels, batch by device
    "ti-160": ("cmt_ti", 160, 3, {"cpu": 8, "cuda": 512}),
    "s-224": ("cmt_s", 224, 3, {"cpu": 4, "cuda": 128}),
    "pico-14": ("cmt_pico", 14, 1, {"cpu": 64, "cuda": 1024}),
    "pico-28": ("cmt_pico", 28, 1, {"cpu": 64, "cuda": 1024}),
    "nano-32": ("cmt_nano", 32, 3, {"cpu": 64, "cuda": 1024}),
}
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One comparison: everything but the variant."""

    case: str
    arch: Arch
    dtype: str
    mode: str  # "eager" or "compile"
    kind: str  # "forward" or "step"
    batch: int
    device: str


def main() -> None:
    """Measure, print and write."""
    args = arguments()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    if args.device == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    peaks = {name: matmul_peak(DTYPES[name], device=args.device) for name in args.dtypes}
    rows: list[dict[str, Any]] = []
    for setting in settings(args):
        for row in measure(setting, rounds=args.rounds, seconds=args.seconds, peaks=peaks):
            rows.append({**machine(device=args.device), **row})
            print(
                f"{row['case']:7s} {row['dtype']} {row['mode']:7s} {row['kind']:8s}"
                f"{row['variant']:13s} {row['images_per_s']:10.1f} images/s  "
                f"x{row['ratio_to_literal']:.2f} ({row['ratio_q1']:.2f} to {row['ratio_q3']:.2f})  "
                f"{row['peak_mib'] or 0:8.0f} MiB  {row['of_matmul_peak']:.1%} of peak",
                flush=True,
            )
        write("throughput", rows, device=args.device, out=args.out)
    if args.profile:
        write("throughput-profile", profiles(args), device=args.device, out=args.out)


def arguments() -> argparse.Namespace:
    """The command line."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--device", default=device)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--dtypes", nargs="+", choices=list(DTYPES), default=list(DTYPES))
    parser.add_argument("--modes", nargs="+", default=["eager", "compile"])
    parser.add_argument("--kinds", nargs="+", default=["forward", "step"])
    parser.add_argument("--rounds", type=int, default=15, help="most rounds of a comparison")
    parser.add_argument("--seconds", type=float, default=60, help="most seconds of a comparison")
    parser.add_argument("--profile", action="store_true", help="write where the time goes as well")
    parser.add_argument("--out", type=Path, default=RESULTS)
    return parser.parse_args()


def settings(args: argparse.Namespace) -> Iterator[Setting]:
    """All comparisons that the command line asks for."""
    for case in args.cases:
        preset, side, channels, batches = CASES[case]
        arch = replace(PRESETS[preset], resolution=side, in_chans=channels)
        for mode, dtype, kind in itertools.product(args.modes, args.dtypes, args.kinds):
            yield Setting(
                case=case,
                arch=arch,
                dtype=dtype,
                mode=mode,
                kind=kind,
                batch=batches[args.device],
                device=args.device,
            )


def networks(arch: Arch, *, kind: str, device: str) -> dict[str, nn.Module]:
    """The variants, with the same weights."""
    ours = CMT(arch, pos_std=0.02)
    literal, nchw = LiteralCMT(arch), LiteralCMT(arch, contiguous=True)
    copy_weights(ours, literal)
    copy_weights(ours, nchw)
    variants = {"literal": literal, "literal-nchw": nchw, "ours": ours}
    if kind == "forward":
        variants["ours-folded"] = reparameterize_model(copy.deepcopy(ours).eval())
    else:
        variants["ours-convolved"] = Convolved(copy.deepcopy(ours))
    return {name: model.to(device).train(kind == "step") for name, model in variants.items()}


class Convolved(nn.Module):
    """A network whose small maps are convolved like large ones."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        with (
            mock.patch.object(layers, "depthwise", convolve_depthwise),
            mock.patch.object(layers, "conv_patches", convolve_patches),
        ):
            return self.network(x)


def convolve_depthwise(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """A 3x3 depthwise convolution."""
    return F.conv2d(x, weight, bias, padding=1, groups=weight.shape[0])


def convolve_patches(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """A convolution of patches that do not overlap."""
    return F.conv2d(x, weight, bias, weight.shape[-1])


def passes(setting: Setting) -> dict[str, Callable[[], None]]:
    """A pass of every variant, ready to be timed."""
    models = networks(setting.arch, kind=setting.kind, device=setting.device)
    if setting.mode == "compile":
        models.pop("ours-convolved", None)
    shape = (setting.batch, setting.arch.in_chans, *[setting.arch.resolution] * 2)
    images = torch.randn(shape, device=setting.device)
    labels = torch.randint(0, 10, (setting.batch,), device=setting.device)
    check_agreement(models, images)
    return {
        name: a_pass(model, setting=setting, images=images, labels=labels)
        for name, model in models.items()
    }


def check_agreement(models: dict[str, nn.Module], images: Tensor) -> None:
    """Stop when the variants do not compute the same function."""
    with torch.no_grad():
        logits = {name: copy.deepcopy(m).eval()(images[:2]) for name, m in models.items()}
    reference = logits["literal"]
    for name, got in logits.items():
        error = ((got - reference).norm() / reference.norm()).item()
        if not error < 2e-3:  # TF32 on a GPU; about 1e-6 on a CPU
            raise SystemExit(f"{name} differs from the literal rendering by {error:.1e}")


def a_pass(
    model: nn.Module, *, setting: Setting, images: Tensor, labels: Tensor
) -> Callable[[], None]:
    """Forward alone, or a training step."""
    run = torch.compile(model) if setting.mode == "compile" else model
    low = setting.dtype != "fp32"

    def autocast() -> contextlib.AbstractContextManager[Any]:
        if not low:
            return contextlib.nullcontext()
        return torch.autocast(setting.device, DTYPES[setting.dtype])

    def forward() -> None:
        with torch.no_grad(), autocast():
            run(images)

    if setting.kind == "forward":
        return forward
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True)

    def step() -> None:
        with autocast():
            loss = F.cross_entropy(run(images), labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def measure(
    setting: Setting, *, rounds: int, seconds: float, peaks: dict[str, float]
) -> Iterator[dict[str, Any]]:
    """A row per variant."""
    torch.compiler.reset()
    runs = passes(setting)
    for run in runs.values():  # compile, choose kernels, fill caches
        run()
        run()
    memory = {name: peak_mib(run, device=setting.device) for name, run in runs.items()}
    clock = step_clock(setting.device)
    timings = interleaved(
        runs,
        reference="literal",
        rounds=rounds,
        seconds=seconds,
        device=setting.device,
        clock=clock,
    )
    work = 2 * cost(setting.arch).macs * (3 if setting.kind == "step" else 1)
    for name, timing in timings.items():
        speed = setting.batch / timing.seconds
        yield {
            "case": setting.case,
            "batch": setting.batch,
            "dtype": setting.dtype,
            "mode": setting.mode,
            "kind": setting.kind,
            "variant": name,
            "clock": clock.__name__,
            "rounds": timing.rounds,
            "images_per_s": round(speed, 2),
            "ratio_to_literal": round(timing.ratio, 3),
            "ratio_q1": round(timing.ratio_q1, 3),
            "ratio_q3": round(timing.ratio_q3, 3),
            "peak_mib": None if memory[name] is None else round(memory[name] or 0, 1),
            "of_matmul_peak": round(work * speed / peaks[setting.dtype], 4),
        }


def profiles(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Share of the time of each operator in a training step and in a forward pass, in fp32."""
    rows = []
    for setting in settings(args):
        if setting.mode != "eager" or setting.dtype != "fp32":
            continue
        for name, run in passes(setting).items():
            rows += [
                {**machine(device=args.device), **row}
                for row in profile(run, name, setting=setting)
            ]
    return rows


def profile(
    run: Callable[[], None], name: str, *, setting: Setting, top: int = 12
) -> Iterable[dict[str, Any]]:
    """The operators that take most of the time."""
    run()
    with torch.profiler.profile() as recorded:
        for _ in range(3):
            run()
    key = "self_device_time_total" if setting.device == "cuda" else "self_cpu_time_total"
    events = sorted(recorded.key_averages(), key=lambda e: -getattr(e, key))
    whole = sum(getattr(e, key) for e in events)
    for event in events[:top]:
        yield {
            "case": setting.case,
            "kind": setting.kind,
            "variant": name,
            "operator": event.key,
            "share": round(getattr(event, key) / whole, 4),
            "calls_per_pass": event.count / 3,
            "ms_per_pass": round(getattr(event, key) / 3e3, 3),
        }


if __name__ == "__main__":
    main()
