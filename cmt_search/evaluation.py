"""Fidelity, measurement and evaluator: the interface between a search and its trainings."""

import base64
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Protocol, Self

from annotated_types import Interval

from cmt_search.arch import Arch
from cmt_search.fields import check_fields

SEEDS_PER_REPLICATE = 1000
"""Offset of the training seeds between measurements of one candidate; above the most `seeds`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fidelity:
    """Length and size of a training.

    The training and its schedule end at the first limit: epochs, steps or seconds. With a limit in
    seconds the result is not repeatable.

    Raises:
        SpaceError: a number is out of range.
    """

    epochs: Annotated[int, Interval(ge=1)]  # passes over the training images
    data_fraction: Annotated[float, Interval(gt=0, le=1)] = 1.0  # of the images, stratified
    image_size: int | None = None  # side in pixels; None: the architecture's resolution
    steps: Annotated[int, Interval(ge=1)] | None = None  # limit; may cut the last epoch
    seconds: Annotated[float, Interval(gt=0)] | None = None  # of wall time, validation included

    def __post_init__(self) -> None:
        check_fields(self, where="fidelity.")

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values, without the limits that are not set."""
        unused = {name for name in ("steps", "seconds") if getattr(self, name) is None}
        return {name: value for name, value in asdict(self).items() if name not in unused}


def image_size(resolution: int, *, scale: float) -> int | None:
    """Scale a resolution to an even number of pixels; None where the scale is 1."""
    return None if scale == 1 else max(2, 2 * round(scale * resolution / 2))


@dataclass(frozen=True, slots=True, kw_only=True)
class CurvePoint:
    """One epoch of a learning curve."""

    epoch: int  # 1 is the first
    train_loss: float  # mean over the epoch, nats
    loss: float  # validation cross-entropy, unsmoothed, nats
    top1: float  # validation accuracy, 0..1


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """Result of one proxy training; `top1` and `loss` are those of the final epoch."""

    top1: float  # 0..1
    loss: float  # validation cross-entropy, unsmoothed, nats
    curve: tuple[CurvePoint, ...]
    correct: bytes  # one bit per validation image, in the data set's order (numpy.packbits)
    images: int  # validation images
    seconds: float  # wall time of the whole training
    seed: int
    device: str  # "cpu", or the name of the GPU
    shared_seconds: float = 0.0  # part of `seconds`: epochs of a shorter training
    # Provenance, which does not affect equality.
    worker: str = field(default="", compare=False)  # HOST:PROCESS
    began: float | None = field(default=None, compare=False)  # seconds since 1970
    ended: float | None = field(default=None, compare=False)  # likewise

    @property
    def spent(self) -> float:
        """Seconds of this training alone, without the epochs of a shorter one."""
        return self.seconds - self.shared_seconds

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {**asdict(self), "correct": base64.b64encode(self.correct).decode()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Create from the values of `to_dict`."""
        curve = tuple(CurvePoint(**point) for point in data["curve"])
        correct = base64.b64decode(data["correct"])
        return cls(**{**data, "curve": curve, "correct": correct})


class TrainingFailed(Exception):
    """A training without a measurement; the study stores the message as the reason."""


class OutOfMemory(TrainingFailed):
    """The training ran out of memory; the message says how to reduce it."""


class Evaluator(Protocol):
    """Trains networks and measures them; made once per process by a factory."""

    def __call__(
        self,
        arch: Arch,
        *,
        fidelity: Fidelity,
        seed: int,
        folder: Path | None = None,
    ) -> Measurement:
        """Train `arch` and measure it.

        `folder` is for checkpoints. It is the same for all lengths of a training, so that a longer
        one can start from a shorter one's.

        Raises:
            TrainingFailed: the training failed.
        """
        ...


EvaluatorFactory = Callable[[], Evaluator]
"""Make the evaluator of a process; picklable, so that a worker can call it.

It does the slow work that all trainings share, such as decoding the images: an executor calls it
once per process, and a job's time limit starts after it. `evaluator_threads` gives its CPU threads.
"""

THREADS_VARIABLE = "CMT_SEARCH_THREADS"


def evaluator_threads() -> int:
    """Return the CPU threads of this process's evaluator, as its executor set them; default 1."""
    return int(os.environ.get(THREADS_VARIABLE, "1"))
