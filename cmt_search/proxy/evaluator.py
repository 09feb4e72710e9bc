"""Train a network and return its measurement."""

import gc
import os
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from cmt_search.arch import Arch
from cmt_search.dataset_spec import DatasetSpec
from cmt_search.errors import DataError
from cmt_search.evaluation import Fidelity, Measurement, OutOfMemory, evaluator_threads
from cmt_search.proxy.data import Dataset
from cmt_search.proxy.sources import load_dataset
from cmt_search.proxy.trainer import Training
from cmt_search.proxy.training_dir import restore_checkpoint, save_checkpoint
from cmt_search.recipe import Recipe


@contextmanager
def device_mode(device: torch.device, *, deterministic: bool) -> Iterator[None]:
    """Use the fastest kernels of a GPU, or deterministic ones; on a CPU, change nothing."""
    if device.type != "cuda":
        yield
        return
    before = torch.are_deterministic_algorithms_enabled()
    if deterministic:
        # Read when cuBLAS starts: a process that has used the GPU before may raise an error.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(deterministic or before)
    try:
        with torch.backends.cudnn.flags(
            enabled=True, benchmark=not deterministic, deterministic=deterministic
        ):
            yield
    finally:
        torch.use_deterministic_algorithms(before)


def run_within_memory(
    run: Callable[[], Measurement], *, recipe: Recipe, device: torch.device
) -> Measurement:
    """Return the result of `run`, and free the memory of its training.

    Raises:
        OutOfMemory: memory ran out; the message names the micro-batch to use.
    """
    try:
        return run()
    except (RuntimeError, MemoryError) as error:
        out_of_memory = isinstance(error, (torch.OutOfMemoryError, MemoryError))
        if not out_of_memory and "can't allocate memory" not in str(error):
            raise
        traceback.clear_frames(error.__traceback__)  # they hold the network and its gradients
        gc.collect()
    finally:
        if device.type == "cuda":
            gc.collect()
            torch.cuda.empty_cache()
    batch, advice = recipe.micro_batch or recipe.batch, "use a smaller batch or budget"
    if batch >= 4 and batch % 2 == 0:  # BatchNorm needs two images
        advice = (
            f"use a smaller budget, or proxy.recipe.micro_batch: {batch // 2} for every network "
            "that this one is compared to"
        )
    raise OutOfMemory(f"out of memory on {device} with batches of {batch}; {advice}")


Callback = Callable[[Training], None]


def train(
    arch: Arch,
    *,
    data: Dataset,
    recipe: Recipe,
    fidelity: Fidelity,
    seed: int,
    device: str | torch.device = "cpu",
    folder: Path | None = None,
    deterministic: bool = False,
    on_epoch: Callback | None = None,
    on_end: Callback | None = None,
) -> Measurement:
    """Train a network from scratch and measure it on the validation images.

    On a CPU with one thread, the same arguments give the same numbers bit for bit, except for the
    seconds; on a GPU they do with `deterministic`, which is slower.

    With a `folder`, a checkpoint is written after each epoch, and an interrupted training resumes
    from it to the same numbers. Epochs that the recipe shares between trainings of several lengths
    are kept there too, and a longer training starts from them. The caller deletes the checkpoints
    once it has stored the measurement. `on_epoch` is called after every epoch, `on_end` at the end.

    Raises:
        DataError: the network does not fit the images, or the device is unknown.
        OutOfMemory: memory ran out.
        TrainingFailed: the loss is not finite.
    """
    _check_compatible(arch, data)
    device = resolve_device(str(device))

    def run() -> Measurement:
        part = data.to(device).subset(fidelity.data_fraction)
        # `Training` seeds torch's own generator: restore it afterwards.
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            training = Training(arch, data=part, recipe=recipe, fidelity=fidelity, seed=seed)
            _run(training, folder=folder, on_epoch=on_epoch)
            if on_end is not None:
                on_end(training)
        return _measurement(training)

    with device_mode(device, deterministic=deterministic):
        return run_within_memory(run, recipe=recipe, device=device)


def _run(training: Training, *, folder: Path | None, on_epoch: Callback | None) -> None:
    """Run the epochs that are left, with a checkpoint after each where there is a folder."""
    if folder is not None:
        restore_checkpoint(training, folder=folder)
    while not training.done:
        training.advance()
        if folder is not None:
            save_checkpoint(training, folder=folder)
        if on_epoch is not None:
            on_epoch(training)


def _measurement(training: Training) -> Measurement:
    last, device = training.curve[-1], training.device
    return Measurement(
        top1=last.top1,
        loss=last.loss,
        curve=tuple(training.curve),
        correct=np.packbits(training.correct.cpu().numpy()).tobytes(),
        images=len(training.data.val),
        seconds=training.seconds,
        shared_seconds=training.shared_seconds,
        seed=training.seed,
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
    )


def _check_compatible(arch: Arch, data: Dataset) -> None:
    for name, of_data in (("in_chans", data.in_chans), ("num_classes", data.num_classes)):
        if getattr(arch, name) != of_data:
            raise DataError(
                f"space file: base.{name}={getattr(arch, name)}, but {data.spec.name} has "
                f"{of_data}; set base.{name}: {of_data}"
            )


class ProxyEvaluator:
    """Trains networks on one data set with one recipe; make one per process.

    The images are read when it is created, before any training. On a CPU, the process is set to
    the number of threads that its executor gives a trial, by default one.

    Raises:
        DataError: the images cannot be read, or the device is unknown.
    """

    def __init__(self, dataset: DatasetSpec, *, recipe: Recipe, device: str | None = None) -> None:
        self.recipe = recipe
        self.device = resolve_device(device)
        if self.device.type == "cpu":
            torch.set_num_threads(evaluator_threads())
        self.data = load_dataset(dataset).to(self.device)

    def __call__(
        self, arch: Arch, *, fidelity: Fidelity, seed: int, folder: Path | None = None
    ) -> Measurement:
        """Train `arch` and measure it, as `train` does."""
        return train(
            arch,
            data=self.data,
            recipe=self.recipe,
            fidelity=fidelity,
            seed=seed,
            device=self.device,
            folder=folder,
        )


def resolve_device(name: str | None) -> torch.device:
    """Return the device of this name; by default a GPU if there is one.

    Raises:
        DataError: the device is unknown or absent.
    """
    try:
        device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
    except RuntimeError:
        raise DataError(f"device {name!r} is unknown; use cpu or cuda") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise DataError(
            f"device {name!r}: this process sees no GPU; use cpu, or --gpus-per-trial 1"
        )
    if device.type == "cuda" and device.index is None:  # tensors name theirs, so compare alike
        return torch.device("cuda", torch.cuda.current_device())
    return device
