"""Several trainings at a time on one GPU, as processes, with and without CUDA MPS."""

import argparse
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace

import proxy
import torch
from plan import Context, Row, python_path

from cmt_search.presets import PRESETS

COUNTS = (1, 2, 4, 8, 16)
MPS = "nvidia-cuda-mps-control"


def measure(context: Context) -> Iterator[Row]:
    """Yield a row per number of processes."""
    counts = (1, 2) if context.quick else COUNTS
    seconds = 0.2 if context.quick else 10.0
    alone = {row["mps"]: row["images_per_s"] for row in context.rows if row["processes"] == "1"}
    for with_mps in (False, True):
        reason = mps_obstacle(context) if with_mps else ""
        for count in counts:
            case = f"{count} processes{', MPS' if with_mps else ''}"
            if case in context.done:
                continue
            row = {"case": case, "processes": count, "mps": with_mps, "note": reason}
            if reason:
                yield {**row, "images_per_s": "", "ratio_to_one": ""}
                continue
            with mps_server() if with_mps else contextlib.nullcontext({}) as environment:
                speed = total_speed(
                    count, context=context, seconds=seconds, environment=environment
                )
            if count == 1:
                alone[str(with_mps)] = speed
            ratio = round(speed / float(alone[str(with_mps)]), 3)
            yield {**row, "images_per_s": round(speed, 1), "ratio_to_one": ratio}


def mps_obstacle(context: Context) -> str:
    """Explain why CUDA MPS cannot be used; empty where it can be tried."""
    if not context.on_gpu:
        return "CUDA MPS needs a GPU"
    return "" if shutil.which(MPS) else f"{MPS} is not installed"


@contextlib.contextmanager
def mps_server() -> Iterator[dict[str, str]]:
    """Run a server of CUDA MPS; yield the environment of its clients."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {"CUDA_MPS_PIPE_DIRECTORY": folder, "CUDA_MPS_LOG_DIRECTORY": folder}
        merged = {**os.environ, **environment}
        subprocess.run([MPS, "-d"], env=merged, check=True)
        try:
            yield environment
        finally:
            subprocess.run([MPS], input="quit\n", text=True, env=merged, check=False)


def total_speed(
    count: int, *, context: Context, seconds: float, environment: dict[str, str]
) -> float:
    """Train in `count` processes at a time. Units: images per second, in all."""
    command = [sys.executable, __file__, "--device", context.device, "--seconds", str(seconds)]
    command += ["--quick"] if context.quick else []
    merged = {**os.environ, **environment, "OMP_NUM_THREADS": "1", "PYTHONPATH": python_path()}
    with contextlib.ExitStack() as stack:
        workers = [
            stack.enter_context(
                subprocess.Popen(
                    command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=merged
                )
            )
            for _ in range(count)
        ]
        for worker in workers:  # all have compiled, chosen kernels and recorded graphs
            if worker.stdout.readline().strip() != "ready":
                raise SystemExit(f"a worker ended before it was ready; {count} at a time")
        for worker in workers:
            worker.stdin.write("go\n")
            worker.stdin.flush()
        return sum(float(worker.stdout.readline()) for worker in workers)


def work(*, device: str, seconds: float, quick: bool) -> None:
    """Train a small network, wait for the others, then train for some seconds."""
    torch.set_num_threads(1)
    arch = replace(PRESETS["cmt_nano"], num_classes=proxy.CLASSES)
    setting = proxy.Setting(
        case="small",
        arch=arch,
        batch=16 if quick else 256,
        images=32 if quick else 8192,
        device=device,
        workers=0,
    )
    training = proxy.ours(setting, proxy.random_images(setting))
    epoch = proxy.epoch_of(training)
    epoch()
    print("ready", flush=True)
    sys.stdin.readline()
    began, epochs = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        epoch()
        epochs += 1
    if device == "cuda":
        torch.cuda.synchronize()
    print(epochs * setting.images / (time.perf_counter() - began), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args()
    work(device=args.device, seconds=args.seconds, quick=args.quick)
