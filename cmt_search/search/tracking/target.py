"""What --log asks for: which trackers, and where they put things."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from cmt_search.errors import CmtSearchError
from cmt_search.search.tracking.trial import Tracker

_PACKAGES = {  # what is imported, and what brings it
    "tensorboard": ("tensorboardX", "tensorboardX tensorboard"),
    "mlflow": ("mlflow", "mlflow"),
    "wandb": ("wandb", "wandb"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One place that trials are logged to."""

    kind: str  # tensorboard, mlflow or wandb
    where: str | None = None  # folder, tracking URI, project; None: the tracker's default

    def __str__(self) -> str:
        return self.kind if self.where is None else f"{self.kind}={self.where}"

    def open(self, folder: Path, *, run: str, run_id: str) -> Tracker:
        """The tracker, for a run of this folder, name and id."""
        known: dict[str, Any] = {
            "where": self.where,
            "folder": folder,
            "run": run,
            "run_id": run_id,
        }
        if self.kind == "tensorboard":
            from cmt_search.search.tracking.to_tensorboard import TensorBoard

            return TensorBoard(**known)
        if self.kind == "mlflow":
            from cmt_search.search.tracking.to_mlflow import Mlflow

            return Mlflow(**known)
        from cmt_search.search.tracking.to_wandb import Wandb

        return Wandb(**known)


def targets(texts: Sequence[str]) -> tuple[Target, ...]:
    """The targets in options such as tensorboard,mlflow=URI, each once.

    Raises:
        CmtSearchError: there is no such tracker, or its package is not installed.
    """
    found: dict[str, Target] = {}
    for text in (part.strip() for option in texts for part in option.split(",")):
        kind, _, where = text.partition("=")
        if kind not in _PACKAGES:
            raise CmtSearchError(
                f"--log {text!r} is unknown; use {', '.join(_PACKAGES)}, or tensorboard=DIR, "
                "mlflow=URI, wandb=PROJECT"
            )
        module, packages = _PACKAGES[kind]
        if find_spec(module) is None:
            raise CmtSearchError(
                f"--log {kind} needs a package that is not installed: pip install {packages}"
            )
        before = found.get(kind, Target(kind=kind, where=None)).where
        if before and where and before != where:
            raise CmtSearchError(
                f"--log names two places for {kind}, {before} and {where}; give one"
            )
        found[kind] = Target(kind=kind, where=where or before)
    return tuple(found.values())
