"""The state of a training between epochs, on disk, for itself or for a longer one."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from cmt_search.atomic import replacing

CHECKPOINT, TRUNK = "checkpoint", "trunk"  # the state of a training; what longer ones share of it


def forget(folder: Path) -> None:
    """Remove the states in a folder, once what they led to is kept elsewhere."""
    for name in (CHECKPOINT, TRUNK):
        (folder / f"{name}.pt").unlink(missing_ok=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """Where the state of one training is kept; with no folder, nothing is."""

    folder: Path | None
    identity: str  # whatever decides what the training is; another's state is not taken up
    name: str = CHECKPOINT  # of the file

    def save(self, state: Mapping[str, Any]) -> None:
        """Keep the state; whoever is killed while writing leaves the one before it."""
        if self.folder is None:
            return
        with replacing(self.folder / f"{self.name}.pt") as partial:
            torch.save({"identity": self.identity, **state}, partial)

    def load(self) -> dict[str, Any] | None:
        """The state kept last, or None where there is none of this training."""
        if self.folder is None or not (path := self.folder / f"{self.name}.pt").exists():
            return None
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        return state if state["identity"] == self.identity else None
