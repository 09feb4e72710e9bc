"""Train a network and return its measurement."""

import gc
import os
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from cmt_search.arch import Arch
from cmt_search.dataset_spec import DatasetSpec
from cmt_search.errors import DataError
from cmt_search.evaluation import (
    EvaluatorFactory,
    Fidelity,
    Measurement,
    OutOfMemory,
    evaluator_threads,
)
from cmt_search.proxy.data import Dataset
from cmt_search.proxy.run_dir import SHARED_PREFIX, Checkpoint
from cmt_search.proxy.sources import load_dataset
from cmt_search.proxy.trainer import Training
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


OnEpoch = Callable[[Training], None]


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
    on_epoch: OnEpoch | None = None,
    on_end: OnEpoch | None = None,
) -> Measurement:
    """Train a network from scratch and measure it on the validation images.

    The same arguments give the same numbers on a CPU with one thread, bit for bit, but for the
    seconds; on a GPU they do so with `deterministic`, which is slower. With a `folder`, the state
    after each epoch is kept there, and a training that was cut off goes on from it. What the
    recipe lets trainings of several lengths share is kept there too, and a longer one begins with
    it; the numbers are the same. The states stay when the training ends: whoever takes in the
    measurement removes them, and until then asking again costs no epoch. `on_epoch` is called
    after every epoch, `on_end` at the end.

    Raises:
        DataError: the network does not fit the images, or the fidelity leaves none.
        OutOfMemory: memory ran out.
        TrainingFailed: the loss is no longer finite.
    """
    _check_fits(arch, data)
    device = torch.device(device)
    spec = {**asdict(data.spec), "root": None}  # the same images may lie elsewhere
    checkpoint = Checkpoint(
        folder=folder, identity=repr((arch, spec, recipe, fidelity, seed, device.type))
    )
    any_length = replace(fidelity, epochs=1)
    shared_prefix = Checkpoint(
        folder=folder,
        identity=repr((arch, spec, recipe, any_length, seed, device.type)),
        name=SHARED_PREFIX,
    )
    in_epochs = fidelity.steps is None and fidelity.seconds is None
    shared = recipe.shared_epochs(fidelity.epochs) if in_epochs else 0

    def run() -> Measurement:
        side = fidelity.image_size or arch.resolution
        part = at_size(data, side=side, recipe=recipe).to(device).subset(fidelity.data_fraction)
        # Initial weights and drop path draw from torch's own generator: seed it, and put it back.
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(seed)
            training = Training.start(arch, data=part, recipe=recipe, fidelity=fidelity, seed=seed)
            if kept := checkpoint.load():
                training.restore(kept)
            elif (kept := shared_prefix.load()) and len(kept["curve"]) <= shared:
                training.restore(kept)
                training.shared_seconds = training.seconds
            while not training.done:
                training.advance()
                checkpoint.save(training.state())
                if len(training.curve) == shared:
                    shared_prefix.save(training.state())
                if on_epoch is not None:
                    on_epoch(training)
            if on_end is not None:
                on_end(training)
        return _measurement(training, seed=seed)

    with device_mode(device, deterministic=deterministic):
        return within_memory(run, recipe=recipe, device=device)


def at_size(data: Dataset, *, side: int, recipe: Recipe) -> Dataset:
    """The images as a network of this side sees them, but for those that are cropped from larger.

    Random crops are taken from the images as they are stored: resizing first would blur them.
    """
    if recipe.augment.resized_crop is None:
        return data.resized(side)
    val = data.val if data.val.shape[-1] == side else data.val.resized(side)
    return replace(data, val=val)


def _measurement(training: Training, *, seed: int) -> Measurement:
    last = training.curve[-1]
    device = training.device
    return Measurement(
        top1=last.top1,
        loss=last.loss,
        curve=tuple(training.curve),
        correct=np.packbits(training.correct.cpu().numpy()).tobytes(),
        images=len(training.data.val),
        seconds=training.seconds,
        shared_seconds=training.shared_seconds,
        seed=seed,
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
    )


def _check_fits(arch: Arch, data: Dataset) -> None:
    for name, of_data in (("in_chans", data.in_chans), ("num_classes", data.num_classes)):
        if getattr(arch, name) != of_data:
            raise DataError(
                f"space file: base.{name}={getattr(arch, name)}, but {data.spec.name} has "
                f"{of_data}; set base.{name}: {of_data}"
            )


class ProxyEvaluator:
    """Trains networks on one data set with one recipe; make one per process.

    Raises:
        DataError: there is no such device here.

    The images are read by `load`, or at the first call, and stay in memory, at the last resolutions
    in use. On a CPU, the process is set to the threads of a trial, by default one.
    `deterministic` is for GPUs: the same numbers every time, and slower.
    """

    def __init__(
        self,
        dataset: DatasetSpec,
        *,
        recipe: Recipe,
        device: str | None = None,
        deterministic: bool = False,
    ) -> None:
        self.dataset = dataset
        self.recipe = recipe
        self.device = resolve_device(device)
        self.deterministic = deterministic
        if self.device.type == "cpu":
            torch.set_num_threads(evaluator_threads())
        self._at = lru_cache(maxsize=2)(self._prepare)

    def __call__(
        self,
        arch: Arch,
        *,
        fidelity: Fidelity,
        seed: int,
        folder: Path | None = None,
        micro_batch: int | None = None,
    ) -> Measurement:
        """Train `arch` and measure it; `folder` keeps the state between epochs.

        `micro_batch` takes the place of the recipe's, where memory ran out before.

        Raises:
            DataError: the images cannot be read, or the network does not fit them.
            OutOfMemory: memory ran out.
            TrainingFailed: the loss is no longer finite.
        """
        return train(
            arch,
            data=self._at(fidelity.image_size or arch.resolution),
            recipe=self.recipe
            if micro_batch is None
            else replace(self.recipe, micro_batch=micro_batch),
            fidelity=fidelity,
            seed=seed,
            device=self.device,
            folder=folder,
            deterministic=self.deterministic,
        )

    def load(self) -> None:
        """Read the images.

        Raises:
            DataError: they cannot be read.
        """
        _ = self._data

    @cached_property
    def _data(self) -> Dataset:
        return load_dataset(self.dataset)

    def _prepare(self, side: int) -> Dataset:
        return at_size(self._data, side=side, recipe=self.recipe).to(self.device)


def resolve_device(name: str | None) -> torch.device:
    """The device of this name; by default a GPU if there is one.

    Raises:
        DataError: there is no such device here.
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


def evaluator_factory(
    dataset: DatasetSpec,
    *,
    recipe: Recipe,
    device: str | None = None,
    deterministic: bool = False,
) -> EvaluatorFactory:
    """Return a picklable factory, which reads the images; `device=None` takes a GPU if any."""
    return partial(
        _make_evaluator, dataset, recipe=recipe, device=device, deterministic=deterministic
    )


def _make_evaluator(dataset: DatasetSpec, **options: Any) -> ProxyEvaluator:
    evaluator = ProxyEvaluator(dataset, **options)
    evaluator.load()
    return evaluator
