"""Memory between trainings, and what happens when it runs out."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from unittest import mock

import torch
from plan import Context, Row

from cmt_search.evaluation import Fidelity, Measurement, OutOfMemory
from cmt_search.presets import PRESETS
from cmt_search.proxy import Dataset, DatasetSpec, Recipe, load_dataset, train
from cmt_search.proxy.trainer import Training

ARCH = replace(PRESETS["cmt_pico"], in_chans=1)
TRAININGS = 3
LIMIT_MIB = 64  # above what is held already, while memory is to run out


def measure(context: Context) -> Iterator[Row]:
    """Yield rows on the memory that a training leaves, and on one that runs out of memory."""
    data = load_dataset(DatasetSpec()).to(torch.device(context.device))
    names = [f"after training {number}" for number in range(1, TRAININGS + 1)]
    for case in names:  # all of them: each looks at what those before it left
        run_training(context, data)
        if case not in context.done:
            yield {"case": case, **held(context), "passed": True, "note": ""}
    case = "out of memory, then a retry"
    if case not in context.done:
        yield {"case": case, **run_out(context, data)}


def run_training(context: Context, data: Dataset) -> Measurement:
    """Train for an epoch."""
    return train(
        ARCH,
        data=data,
        recipe=Recipe(batch=64 if context.quick else 2048),
        fidelity=Fidelity(epochs=1, data_fraction=0.05 if context.quick else 1.0),
        seed=0,
        device=context.device,
        deterministic=True,
    )


def held(context: Context) -> Row:
    """Measure what the process holds on the GPU. Units: MiB."""
    if not context.on_gpu:
        return {"allocated_mib": "", "reserved_mib": ""}
    return {
        "allocated_mib": round(torch.cuda.memory_allocated() / 2**20, 2),
        "reserved_mib": round(torch.cuda.memory_reserved() / 2**20, 2),
    }


def run_out(context: Context, data: Dataset) -> Row:
    """Let a training run out of memory, then repeat it as a search does: with the same sizes."""
    whole = run_training(context, data)
    before = held(context)["allocated_mib"]
    limit = limit_gpu_memory if context.on_gpu else fail_once
    advice = ""
    with limit():
        try:
            run_training(context, data)
        except OutOfMemory as error:
            advice = str(error)
    after = held(context)
    again = run_training(context, data)
    identical = replace(whole, seconds=0.0) == replace(again, seconds=0.0)
    freed = not context.on_gpu or after["allocated_mib"] <= before + 1
    return {
        **after,
        "passed": bool(advice) and identical and freed,
        "note": advice or "memory did not run out",
    }


@contextlib.contextmanager
def limit_gpu_memory() -> Iterator[None]:
    """Give this process hardly more memory than it holds."""
    total = torch.cuda.get_device_properties(0).total_memory
    most = (torch.cuda.memory_allocated() + LIMIT_MIB * 2**20) / total
    torch.cuda.set_per_process_memory_fraction(most)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


def fail_once() -> contextlib.AbstractContextManager[Callable[..., None]]:
    """Stand in for a full memory, which a CPU cannot be given safely."""
    error = torch.OutOfMemoryError("simulated")
    return mock.patch.object(Training, "advance", side_effect=error)
