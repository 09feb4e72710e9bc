"""From a network and images to a measurement."""

from pathlib import Path

import numpy as np
import torch

from cmt_search.arch import Arch
from cmt_search.errors import DataError
from cmt_search.evaluation import Fidelity, Measurement, TrainingFailed
from cmt_search.proxy.checkpoint import Checkpoint
from cmt_search.proxy.dataset import Dataset
from cmt_search.proxy.training import Training
from cmt_search.recipe import Recipe


def train(
    arch: Arch,
    *,
    data: Dataset,
    recipe: Recipe,
    fidelity: Fidelity,
    seed: int,
    device: str | torch.device = "cpu",
    folder: Path | None = None,
) -> Measurement:
    """Train a network from scratch and measure it on the validation images.

    The same arguments give the same numbers on a CPU with one thread, bit for bit, but for the
    seconds. With a `folder`, the state after each epoch is kept there, and a training that was cut
    off goes on from it.

    Raises:
        DataError: the network does not fit the images, or the fidelity leaves none.
        TrainingFailed: the loss is no longer finite, or memory ran out.
    """
    _check_fits(arch, data)
    device = torch.device(device)
    checkpoint = Checkpoint(
        folder=folder, identity=repr((arch, data.spec, recipe, fidelity, seed, device.type))
    )
    try:
        data = data.resized(fidelity.image_size or arch.resolution).to(device)
        data = data.subset(fidelity.data_fraction)
        # Initial weights and drop path draw from torch's own generator: seed it, and put it back.
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(seed)
            training = Training.start(
                arch, data=data, recipe=recipe, epochs=fidelity.epochs, seed=seed
            )
            _finish(training, checkpoint=checkpoint)
        return _measurement(training, seed=seed)
    except (RuntimeError, MemoryError) as error:
        if not _is_out_of_memory(error):
            raise
        raise TrainingFailed(
            f"out of memory on {device} with batches of {recipe.batch}; "
            "use a smaller batch or budget"
        ) from error


def _finish(training: Training, *, checkpoint: Checkpoint) -> None:
    if kept := checkpoint.load():
        training.restore(kept)
    while len(training.curve) < training.epochs:
        training.advance()
        checkpoint.save(training.state())
    checkpoint.drop()


def _measurement(training: Training, *, seed: int) -> Measurement:
    last = training.curve[-1]
    device = training.padded.device
    return Measurement(
        top1=last.top1,
        loss=last.loss,
        curve=tuple(training.curve),
        correct=np.packbits(training.correct.cpu().numpy()).tobytes(),
        images=len(training.data.val),
        seconds=training.seconds,
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


def _is_out_of_memory(error: Exception) -> bool:
    kinds = (torch.OutOfMemoryError, MemoryError)
    return isinstance(error, kinds) or "can't allocate memory" in str(error)
