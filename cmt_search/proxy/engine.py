"""From a network and images to a measurement."""

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch

from cmt_search.arch import Arch
from cmt_search.errors import DataError
from cmt_search.evaluation import Fidelity, Measurement
from cmt_search.proxy.checkpoint import TRUNK, Checkpoint
from cmt_search.proxy.dataset import Dataset
from cmt_search.proxy.device import device_mode, within_memory
from cmt_search.proxy.training import Training
from cmt_search.recipe import Recipe

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
    trunk = Checkpoint(
        folder=folder,
        identity=repr((arch, spec, recipe, any_length, seed, device.type)),
        name=TRUNK,
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
            elif (kept := trunk.load()) and len(kept["curve"]) <= shared:
                training.restore(kept)
                training.shared_seconds = training.seconds
            while not training.over:
                training.advance()
                checkpoint.save(training.state())
                if len(training.curve) == shared:
                    trunk.save(training.state())
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
