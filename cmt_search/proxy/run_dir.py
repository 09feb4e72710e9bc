"""Output directory of a training: config, progress, checkpoints, weights."""

import csv
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from cmt_search.errors import RunError
from cmt_search.evaluation import Measurement
from cmt_search.io import atomic_path, atomic_write
from cmt_search.proxy.trainer import Training
from cmt_search.seal import sealed

CHECKPOINT, SHARED_PREFIX = "checkpoint", "shared_prefix"  # file names of states


def delete_checkpoints(folder: Path) -> None:
    """Remove the states in a folder, once what they led to is kept elsewhere."""
    for name in (CHECKPOINT, SHARED_PREFIX):
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
        with atomic_path(self.folder / f"{self.name}.pt") as partial:
            torch.save({"identity": self.identity, **state}, partial)

    def load(self) -> dict[str, Any] | None:
        """The state kept last, or None where there is none of this training."""
        if self.folder is None or not (path := self.folder / f"{self.name}.pt").exists():
            return None
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        return state if state["identity"] == self.identity else None


FORMAT = "cmt_search.training/2"  # 1 had no seal
_FORMATS = ("cmt_search.training/1", FORMAT)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingDir:
    """`train.json`, `curve.csv`, a checkpoint while it runs, `model.safetensors` at the end."""

    path: Path
    plan: Mapping[str, Any]  # plain values: all that decides the numbers
    provenance: Mapping[str, Any]  # plain values: versions, hardware, command

    @property
    def info(self) -> Path:
        """What the training is, and what it gave."""
        return self.path / "train.json"

    @property
    def weights(self) -> Path:
        """The final weights; their average, where the recipe asks for one."""
        return self.path / "model.safetensors"

    def open(self) -> Measurement | None:
        """Begin, or go on with what was begun; the measurement, if the training is complete.

        Raises:
            RunError: the folder holds another training, or cannot be written.
        """
        kept = self._kept()
        if kept is None:
            try:
                self.path.mkdir(parents=True, exist_ok=True)
                self._write(state="running")
            except OSError as error:
                raise RunError(
                    f"{self.path} cannot be written ({error}); choose another folder with --to"
                ) from error
            return None
        if changes := list(_differences(kept["plan"], _plain(self.plan))):
            raise RunError(
                f"{self.path} holds a training with {'; '.join(changes)}; choose another folder "
                "with --to, or give the same options to go on with it"
            )
        return Measurement.from_dict(kept["measurement"]) if kept["state"] == "complete" else None

    def write_curve(self, training: Training) -> None:
        """Write the learning curve so far."""
        rows = [asdict(point) for point in training.curve]
        with (
            atomic_path(self.path / "curve.csv") as partial,
            partial.open("w", newline="", encoding="utf-8") as file,
        ):
            writer = csv.DictWriter(file, fieldnames=list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)

    def write_weights(self, training: Training) -> None:
        """Write the weights that were measured."""
        self.write_curve(training)
        state = training.measured.state_dict()
        with atomic_path(self.weights) as partial:
            save_file({name: value.cpu().contiguous() for name, value in state.items()}, partial)

    def complete(self, measurement: Measurement) -> None:
        """Write what the training gave."""
        with self.weights.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        self._write(
            state="complete",
            measurement=measurement.to_dict(),
            weights={"file": self.weights.name, "sha256": digest},
        )
        delete_checkpoints(self.path)

    def _write(self, **more: Any) -> None:
        data = {"format": FORMAT, **more, "plan": dict(self.plan), **self.provenance}
        atomic_write(self.info, json.dumps(sealed(_plain(data)), indent=2) + "\n")

    def _kept(self) -> dict[str, Any] | None:
        if not self.info.exists():
            return None
        try:
            data: dict[str, Any] = json.loads(self.info.read_text(encoding="utf-8"))
            if data["format"] in _FORMATS and data["plan"] and data["state"]:
                return data
        except (OSError, ValueError, KeyError, TypeError):
            pass
        raise RunError(f"{self.info} is no record of a training; choose another folder with --to")


def _plain(data: Mapping[str, Any]) -> dict[str, Any]:
    """As JSON gives it back."""
    plain: dict[str, Any] = json.loads(json.dumps(dict(data)))
    return plain


def _differences(kept: Any, asked: Any, path: str = "") -> Iterator[str]:
    """`key.path=this, not that` for every value in which the two differ."""
    if isinstance(kept, dict) and isinstance(asked, dict):
        for name in dict.fromkeys((*kept, *asked)):
            where = f"{path}.{name}" if path else str(name)
            yield from _differences(kept.get(name), asked.get(name), where)
    elif kept != asked:
        yield f"{path}={kept!r}, not {asked!r}"
