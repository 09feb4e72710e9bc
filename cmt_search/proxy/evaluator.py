"""What a search calls to measure a network."""

from dataclasses import replace
from functools import cached_property, lru_cache, partial
from pathlib import Path

import torch

from cmt_search.arch import Arch
from cmt_search.dataset_spec import DatasetSpec
from cmt_search.errors import DataError
from cmt_search.evaluation import EvaluatorFactory, Fidelity, Measurement
from cmt_search.proxy.dataset import Dataset
from cmt_search.proxy.engine import at_size, train
from cmt_search.proxy.sources import load_dataset
from cmt_search.recipe import Recipe


class ProxyEvaluator:
    """Trains networks on one data set with one recipe; make one per process.

    Raises:
        DataError: there is no such device here.

    The images are read at the first call and stay in memory, at the last resolutions in use. On a
    CPU, the process is set to one thread: trials run beside each other, not within one.
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
        self.device = device_named(device)
        self.deterministic = deterministic
        if self.device.type == "cpu":
            torch.set_num_threads(1)
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

    @cached_property
    def _data(self) -> Dataset:
        return load_dataset(self.dataset)

    def _prepare(self, side: int) -> Dataset:
        return at_size(self._data, side=side, recipe=self.recipe).to(self.device)


def device_named(name: str | None) -> torch.device:
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
    """A picklable maker of evaluators, one per worker process; `device=None` takes a GPU if any."""
    return partial(
        ProxyEvaluator, dataset, recipe=recipe, device=device, deterministic=deterministic
    )
