"""Images per second of proxy trainings, against a plain loop and timm's parts, in one process.

    python benchmarks/proxy.py --threads 1 --out benchmarks/results

Variants, all on the same images (random ones, in memory: what they show makes no difference), with
the same weights and fused AdamW. `plain` is the loop of a tutorial (a DataLoader with torchvision's
transforms: PIL, crop with a margin, flip, tensor, normalise) around a literal rendering of the
official network (benchmarks/literal_cmt.py); `plain-builder` is that loop around the network of
`cmt_search.builder`. `timm` is timm's `create_loader` and `create_optimizer_v2` in channels-last.
`ours` is an epoch of `cmt_search.proxy`; on a GPU `ours-eager` is that without its CUDA graph. All
use bf16 autocast on a GPU, and workers where `--workers` asks for them.

A round runs an epoch of each in turn; ratios are medians over rounds, so that a slow moment of a
shared machine affects all variants. With one thread and no workers, times are CPU time of the
process (column `clock`). `in_steps` is the part of an epoch's time that its steps take when
they are run alone, on one batch that is there already: the rest is feeding. `of_matmul_peak` is
6 * MACs * images/s (forward and backward) over what a large matrix product reaches here.
`launches_per_step` counts the kernels and graphs that the host starts on a GPU in a step.
"""

import argparse
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from harness import RESULTS, Clock, interleaved, machine, matmul_peak, step_clock, timed, write
from literal_cmt import LiteralCMT, copy_weights
from PIL import Image
from timm.data import create_loader
from timm.optim import create_optimizer_v2
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset
from torchvision import transforms

from cmt_search.arch import Arch
from cmt_search.builder import CMT
from cmt_search.cost import cost
from cmt_search.evaluation import Fidelity
from cmt_search.presets import PRESETS
from cmt_search.proxy import Dataset, DatasetSpec, ImageSet, Recipe
from cmt_search.proxy import trainer as training_module
from cmt_search.proxy.trainer import Training

CASES = {  # preset, side, channels, batch, images of an epoch by device
    "pico-14": ("cmt_pico", 14, 1, 64, {"cpu": 1024, "cuda": 32768}),
    "pico-28": ("cmt_pico", 28, 1, 64, {"cpu": 512, "cuda": 32768}),
    "nano-32": ("cmt_nano", 32, 3, 64, {"cpu": 256, "cuda": 16384}),
}
CLASSES = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One comparison: everything but the variant."""

    case: str
    arch: Arch
    batch: int
    images: int
    device: str
    workers: int

    @property
    def margin(self) -> int:
        """Pixels by which a crop may move."""
        return round(Recipe().augment.translate * self.arch.resolution)


class Pictures(TorchDataset[Any]):
    """Images as a tutorial has them: PIL, one at a time."""

    def __init__(self, data: ImageSet, transform: Callable[[Image.Image], Any] | None) -> None:
        self.images = [transforms.functional.to_pil_image(image) for image in data.images]
        self.labels = data.labels.tolist()
        self.transform = transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, place: int) -> tuple[Any, int]:
        image = self.images[place]
        return self.transform(image) if self.transform else image, self.labels[place]


def main() -> None:
    """Measure, print and write."""
    args = arguments()
    torch.set_num_threads(args.threads)
    peak = matmul_peak(
        torch.bfloat16 if args.device == "cuda" else torch.float32, device=args.device
    )
    rows: list[dict[str, Any]] = []
    for case in args.cases:
        setting = a_setting(case, device=args.device, workers=args.workers)
        for row in measure(setting, rounds=args.rounds, seconds=args.seconds, peak=peak):
            rows.append(
                {**machine(device=args.device, packages=("torch", "torchvision", "timm")), **row}
            )
            print(
                f"{row['case']:9s} {row['variant']:13s} {row['images_per_s']:10.1f} images/s  "
                f"x{row['ratio_to_plain']:.2f} ({row['ratio_q1']:.2f} to {row['ratio_q3']:.2f})  "
                f"{row['in_steps'] or 0:5.1%} in steps  {row['of_matmul_peak']:.1%} of peak",
                flush=True,
            )
    print(write("proxy", rows, device=args.device, out=args.out))


def arguments() -> argparse.Namespace:
    """The command line."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--device", default=device)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--workers", type=int, default=0, help="of the two loaders")
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--rounds", type=int, default=15, help="most rounds of a comparison")
    parser.add_argument("--seconds", type=float, default=60, help="most seconds of a comparison")
    parser.add_argument("--out", type=Path, default=RESULTS)
    return parser.parse_args()


def a_setting(case: str, *, device: str, workers: int) -> Setting:
    """The comparison of this name."""
    preset, side, channels, batch, images = CASES[case]
    arch = replace(PRESETS[preset], resolution=side, in_chans=channels, num_classes=CLASSES)
    count = images[torch.device(device).type]
    return Setting(case=case, arch=arch, batch=batch, images=count, device=device, workers=workers)


def random_images(setting: Setting) -> Dataset:
    """As many images as an epoch has, and a few to validate on."""
    draws = torch.Generator().manual_seed(0)

    def part(count: int) -> ImageSet:
        shape = (count, setting.arch.in_chans, *[setting.arch.resolution] * 2)
        images = torch.randint(256, shape, generator=draws, dtype=torch.uint8)
        labels = torch.randint(CLASSES, (count,), generator=draws)
        return ImageSet(images=images, labels=labels)

    middle = torch.full((setting.arch.in_chans,), 127.5)
    return Dataset(
        spec=DatasetSpec(),
        train=part(setting.images),
        val=part(CLASSES),
        classes=tuple(str(number) for number in range(CLASSES)),
        mean=middle,
        std=middle,
    )


def ours(setting: Setting, data: Dataset) -> Training:
    """A training that is ready for its first epoch."""
    torch.manual_seed(0)
    return Training(
        setting.arch,
        data=data.to(torch.device(setting.device)),
        recipe=Recipe(batch=setting.batch),
        fidelity=Fidelity(epochs=100_000),
        seed=0,
    )


def plain(setting: Setting, data: Dataset, *, literal: bool) -> Callable[[], None]:
    """An epoch of a tutorial's loop, with the official structure or the builder's network."""
    middle = [0.5] * setting.arch.in_chans
    transform = transforms.Compose(
        [
            transforms.RandomCrop(setting.arch.resolution, padding=setting.margin),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(middle, middle),
        ]
    )
    loader = DataLoader(
        Pictures(data.train, transform),
        batch_size=setting.batch,
        shuffle=True,
        drop_last=True,
        num_workers=setting.workers,
        persistent_workers=setting.workers > 0,
        pin_memory=setting.device == "cuda",
    )
    torch.manual_seed(0)
    model: nn.Module = CMT(setting.arch)
    if literal:
        network, model = model, LiteralCMT(setting.arch)
        copy_weights(network, model)
    model = model.to(setting.device).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    return lambda: loop(model, loader, optimizer, device=setting.device)


def timms(setting: Setting, data: Dataset) -> Callable[[], None]:
    """An epoch with timm's loader and optimiser."""
    middle = (0.5,) * setting.arch.in_chans
    loader = create_loader(
        Pictures(data.train, None),
        input_size=(setting.arch.in_chans, setting.arch.resolution, setting.arch.resolution),
        batch_size=setting.batch,
        is_training=True,
        use_prefetcher=setting.device == "cuda",
        device=torch.device(setting.device),
        train_crop_mode="rrc",
        scale=(0.8, 1.0),
        color_jitter=None,
        hflip=0.5,
        mean=middle,
        std=middle,
        num_workers=setting.workers,
        persistent_workers=setting.workers > 0,
        pin_memory=setting.device == "cuda",
    )
    torch.manual_seed(0)
    model = CMT(setting.arch).to(setting.device).train()
    model.to(memory_format=torch.channels_last)
    optimizer = create_optimizer_v2(model, opt="adamw", lr=1e-4, weight_decay=0.05, fused=True)
    return lambda: loop(model, loader, optimizer, device=setting.device, channels_last=True)


def loop(
    model: nn.Module,
    loader: Iterable[tuple[Tensor, Tensor]],
    optimizer: torch.optim.Optimizer,
    *,
    device: str,
    channels_last: bool = False,
) -> None:
    """One epoch."""
    order = torch.channels_last if channels_last else torch.contiguous_format
    for images, labels in loader:
        x = images.to(device, non_blocking=True).contiguous(memory_format=order)
        with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
            loss = F.cross_entropy(model(x), labels.to(device, non_blocking=True))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def epoch_of(training: Training) -> Callable[[], None]:
    """An epoch without its validation, as the other loops have none."""
    return lambda: float(training._train(0.0).sum()) and None


def eager(setting: Setting, data: Dataset) -> Training:
    """Ours without its CUDA graph."""
    real = training_module.fastest_step
    training_module.fastest_step = lambda step, **_: step  # type: ignore[assignment]
    try:
        training = ours(setting, data)
        training.step_function()
    finally:
        training_module.fastest_step = real
    return training


def measure(
    setting: Setting, *, rounds: int, seconds: float, peak: float
) -> Iterator[dict[str, Any]]:
    """A row per variant."""
    data = random_images(setting)
    trainings = {"ours": ours(setting, data)}
    if setting.device == "cuda":
        trainings["ours-eager"] = eager(setting, data)
    runs = {
        "plain": plain(setting, data, literal=True),
        "plain-builder": plain(setting, data, literal=False),
        "timm": timms(setting, data),
    }
    runs |= {name: epoch_of(training) for name, training in trainings.items()}
    for run in runs.values():  # choose kernels, fill caches, record graphs
        run()
    clock = step_clock(setting.device, workers=setting.workers)
    timings = interleaved(
        runs,
        reference="plain",
        rounds=rounds,
        seconds=seconds,
        device=setting.device,
        clock=clock,
    )
    steps = setting.images // setting.batch
    work = 6 * cost(setting.arch).macs
    for name, timing in timings.items():
        speed = steps * setting.batch / timing.seconds
        alone = name in trainings and steps_alone(trainings[name], steps=steps, clock=clock)
        yield {
            "case": setting.case,
            "resolution": setting.arch.resolution,
            "macs": cost(setting.arch).macs,
            "batch": setting.batch,
            "images": setting.images,
            "workers": setting.workers,
            "variant": name,
            "clock": clock.__name__,
            "rounds": timing.rounds,
            "images_per_s": round(speed, 1),
            "ratio_to_plain": round(timing.ratio, 3),
            "ratio_q1": round(timing.ratio_q1, 3),
            "ratio_q3": round(timing.ratio_q3, 3),
            "in_steps": round(min(alone / timing.seconds, 1), 3) if alone else None,
            "of_matmul_peak": round(work * speed / peak, 4),
            "launches_per_step": launches_per_step(trainings[name]) if name in trainings else None,
        }


def steps_alone(training: Training, *, steps: int, clock: Clock) -> float:
    """Seconds of an epoch's steps on a batch that is there already: the best of three."""
    step = training.step_function()
    images, labels = training.data.train.take(
        torch.arange(training.length.batch, device=training.device)
    )

    def run() -> None:
        for _ in range(steps):
            step(images, labels)

    return min(timed(run, device=training.device.type, clock=clock) for _ in range(3))


def launches_per_step(training: Training, *, steps: int = 10) -> float | None:
    """Count what the host starts on a GPU in a step: kernels, or one graph; None on a CPU."""
    if training.device.type != "cuda":
        return None
    step = training.step_function()
    images, labels = training.data.train.take(
        torch.arange(training.length.batch, device=training.device)
    )
    activities = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities) as recorded:
        for _ in range(steps):
            step(images, labels)
        torch.cuda.synchronize()
    calls = ("LaunchKernel", "GraphLaunch")
    return sum(e.count for e in recorded.key_averages() if any(c in e.key for c in calls)) / steps


if __name__ == "__main__":
    main()
