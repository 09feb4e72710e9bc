"""State of a training between its epochs, in a folder."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from cmt_search.arch import Arch
from cmt_search.dataset_spec import DatasetSpec
from cmt_search.evaluation import Fidelity
from cmt_search.io import atomic_path
from cmt_search.proxy.trainer import Training
from cmt_search.recipe import Recipe

_CHECKPOINT, _SHARED_PREFIX = "checkpoint.pt", "shared_prefix.pt"


def delete_checkpoints(folder: Path) -> None:
    """Delete the checkpoints in a folder, once the measurement is stored elsewhere."""
    for name in (_CHECKPOINT, _SHARED_PREFIX):
        (folder / name).unlink(missing_ok=True)


class Checkpoints:
    """The last epoch of a training, and the last that it shares with longer ones.

    An identity covers all that determines the numbers; the state of another training is ignored.
    Without a folder, nothing is saved.
    """

    def __init__(
        self,
        folder: Path | None,
        *,
        arch: Arch,
        dataset: DatasetSpec,
        recipe: Recipe,
        fidelity: Fidelity,
        seed: int,
        device: torch.device,
    ) -> None:
        images = {**asdict(dataset), "root": None}  # a copy elsewhere gives the same training
        any_length = replace(fidelity, epochs=1)
        in_epochs = fidelity.steps is None and fidelity.seconds is None
        self._folder = folder
        self._identity = repr((arch, images, recipe, fidelity, seed, device.type))
        self._shared_identity = repr((arch, images, recipe, any_length, seed, device.type))
        self._shared_epochs = recipe.shared_epochs(fidelity.epochs) if in_epochs else 0

    def save(self, training: Training) -> None:
        """Replace the state atomically."""
        self._write(_CHECKPOINT, training, identity=self._identity)
        if len(training.curve) == self._shared_epochs:
            self._write(_SHARED_PREFIX, training, identity=self._shared_identity)

    def restore(self, training: Training) -> None:
        """Continue from the last state of this training, or of a shorter one."""
        if state := self._read(_CHECKPOINT, identity=self._identity):
            training.restore(state)
            return
        state = self._read(_SHARED_PREFIX, identity=self._shared_identity)
        if state is not None and len(state["curve"]) <= self._shared_epochs:
            training.restore(state)
            training.shared_seconds = training.seconds

    def _write(self, name: str, training: Training, *, identity: str) -> None:
        if self._folder is not None:
            with atomic_path(self._folder / name) as partial:
                torch.save({"identity": identity, **training.state()}, partial)

    def _read(self, name: str, *, identity: str) -> dict[str, Any] | None:
        if self._folder is None or not (self._folder / name).exists():
            return None
        path = self._folder / name
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        return state if state["identity"] == identity else None
