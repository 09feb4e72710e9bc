"""What a training asks of its device: kernels, memory, and what happens when that runs out."""

import gc
import os
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch

from cmt_search.evaluation import OutOfMemory
from cmt_search.recipe import Recipe

T = TypeVar("T")


@contextmanager
def device_mode(device: torch.device, *, deterministic: bool) -> Iterator[None]:
    """Fast kernels, chosen by trial, or those that give the same bits every time.

    Only a GPU has a choice: on a CPU, one thread gives the same bits as it is.
    """
    if device.type != "cuda":
        yield
        return
    before = torch.are_deterministic_algorithms_enabled()
    if deterministic:
        # Read when cuBLAS starts: a process that has used the GPU before may refuse, and say so.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(deterministic or before)
    try:
        with torch.backends.cudnn.flags(
            enabled=True, benchmark=not deterministic, deterministic=deterministic
        ):
            yield
    finally:
        torch.use_deterministic_algorithms(before)


def within_memory(run: Callable[[], T], *, recipe: Recipe, device: torch.device) -> T:
    """What `run` returns; afterwards, the memory that it held is free for the next training.

    Raises:
        OutOfMemory: memory ran out; the message names the micro-batch to use.
    """
    try:
        return run()
    except (RuntimeError, MemoryError) as error:
        if not _is_out_of_memory(error):
            raise
        traceback.clear_frames(error.__traceback__)  # they hold the network and its gradients
        gc.collect()
    finally:
        if device.type == "cuda":
            gc.collect()
            torch.cuda.empty_cache()
    raise _out_of_memory(recipe, device=device)


def _out_of_memory(recipe: Recipe, *, device: torch.device) -> OutOfMemory:
    batch = recipe.micro_batch or recipe.batch
    half = batch // 2 if batch >= 4 and batch % 2 == 0 else None  # BatchNorm needs two images
    if half is None:
        return OutOfMemory(
            f"out of memory on {device} with batches of {batch}; use a smaller batch or budget"
        )
    return OutOfMemory(
        f"out of memory on {device} with batches of {batch}; use a smaller budget, or "
        f"proxy.recipe.micro_batch: {half} for every network that this one is compared to",
        half,
    )


def _is_out_of_memory(error: Exception) -> bool:
    kinds = (torch.OutOfMemoryError, MemoryError)
    return isinstance(error, kinds) or "can't allocate memory" in str(error)
