"""Files of a training: its checkpoints, and the output directory of `cmt-search train`."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from cmt_search.errors import RunError
from cmt_search.evaluation import Measurement
from cmt_search.io import atomic_path, atomic_write
from cmt_search.proxy.trainer import Training

_CHECKPOINT, _SHARED_PREFIX = "checkpoint.pt", "shared_prefix.pt"
FORMAT = "cmt_search.training/2"
_INFO = "train.json"  # plan, state and measurement


def save_checkpoint(training: Training, *, folder: Path) -> None:
    """Replace the last state atomically, and the last that longer trainings share."""
    _write_state(folder / _CHECKPOINT, training, identity=_identity(training))
    if len(training.curve) == _shared_epochs(training):
        identity = _identity(training, any_length=True)
        _write_state(folder / _SHARED_PREFIX, training, identity=identity)


def restore_checkpoint(training: Training, *, folder: Path) -> None:
    """Continue from the last state of this training, or of a shorter one; ignore all others."""
    if state := _read_state(folder / _CHECKPOINT, identity=_identity(training)):
        training.restore(state)
        return
    state = _read_state(folder / _SHARED_PREFIX, identity=_identity(training, any_length=True))
    if state is not None and len(state["curve"]) <= _shared_epochs(training):
        training.restore(state)
        training.shared_seconds = training.seconds


def _identity(training: Training, *, any_length: bool = False) -> str:
    """Represent all that determines the numbers, except the number of epochs if `any_length`."""
    fidelity = replace(training.fidelity, epochs=1) if any_length else training.fidelity
    images = {**asdict(training.data.spec), "root": None}  # a copy elsewhere: the same training
    device = training.device.type
    return repr((training.arch, images, training.recipe, fidelity, training.seed, device))


def _shared_epochs(training: Training) -> int:
    fidelity = training.fidelity
    in_epochs = fidelity.steps is None and fidelity.seconds is None
    return training.recipe.shared_epochs(fidelity.epochs) if in_epochs else 0


def _write_state(path: Path, training: Training, *, identity: str) -> None:
    with atomic_path(path) as partial:
        torch.save({"identity": identity, **training.state()}, partial)


def _read_state(path: Path, *, identity: str) -> dict[str, Any] | None:
    if not path.exists():
        return None
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return state if state["identity"] == identity else None


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingDir:
    """`train.json`, `curve.csv`, a checkpoint while it runs, `model.safetensors` at the end."""

    path: Path
    plan: Mapping[str, Any]  # JSON values that determine the numbers
    provenance: Mapping[str, Any]  # JSON values: versions, hardware, command

    @property
    def weights(self) -> Path:
        """File of the final weights; of their average, if the recipe has `ema`."""
        return self.path / "model.safetensors"

    def open(self) -> Measurement | None:
        """Start or resume the training; return the measurement of a complete one.

        Raises:
            RunError: the folder holds another training, or cannot be written.
        """
        stored = self._read()
        if stored is None:
            try:
                self.path.mkdir(parents=True, exist_ok=True)
                self._write(state="running")
            except OSError as error:
                raise RunError(
                    f"{self.path} cannot be written ({error}); choose another folder with --to"
                ) from error
            return None
        plan = json.loads(json.dumps(dict(self.plan)))
        if changes := list(_differences(stored["plan"], plan)):
            raise RunError(
                f"{self.path} holds a training with {'; '.join(changes)}; choose another folder "
                "with --to, or give the same options to resume it"
            )
        complete = stored["state"] == "complete"
        return Measurement.from_dict(stored["measurement"]) if complete else None

    def write_curve(self, training: Training) -> None:
        """Write the learning curve so far."""
        rows = [asdict(point) for point in training.curve]
        lines = [list(rows[0]), *(map(str, row.values()) for row in rows)]
        atomic_write(self.path / "curve.csv", "".join(",".join(line) + "\n" for line in lines))

    def write_weights(self, training: Training) -> None:
        """Write the weights that were measured, and the curve."""
        self.write_curve(training)
        state = training.measured.state_dict()
        with atomic_path(self.weights) as partial:
            save_file({name: value.cpu().contiguous() for name, value in state.items()}, partial)

    def complete(self, measurement: Measurement) -> None:
        """Write the measurement and the checksum of the weights; delete the checkpoints."""
        with self.weights.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        self._write(
            state="complete",
            measurement=measurement.to_dict(),
            weights={"file": self.weights.name, "sha256": digest},
        )
        for name in (_CHECKPOINT, _SHARED_PREFIX):
            (self.path / name).unlink(missing_ok=True)

    def _write(self, **values: Any) -> None:
        data = {"format": FORMAT, **values, "plan": dict(self.plan), **self.provenance}
        atomic_write(self.path / _INFO, json.dumps(data, indent=2) + "\n")

    def _read(self) -> dict[str, Any] | None:
        info = self.path / _INFO
        if not info.exists():
            return None
        try:
            data: dict[str, Any] = json.loads(info.read_text(encoding="utf-8"))
            if data["format"] == FORMAT and data["plan"] and data["state"]:
                return data
        except (OSError, ValueError, KeyError, TypeError):
            pass
        raise RunError(f"{info} is not the record of a training; choose another folder with --to")


def _differences(stored: Any, requested: Any, path: str = "") -> Iterator[str]:
    """Yield `key.path=stored, not requested` for every value that differs."""
    if isinstance(stored, dict) and isinstance(requested, dict):
        for name in dict.fromkeys((*stored, *requested)):
            key = f"{path}.{name}" if path else str(name)
            yield from _differences(stored.get(name), requested.get(name), key)
    elif stored != requested:
        yield f"{path}={stored!r}, not {requested!r}"
