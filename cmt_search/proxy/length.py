"""How long a training is: in epochs, in steps, or until the time is up."""

from dataclasses import dataclass
from typing import Self

from cmt_search.evaluation import Fidelity

_TICKS = 1_000_000  # of a training that is limited by time


@dataclass(frozen=True, slots=True, kw_only=True)
class Length:
    """Where a training ends, and where in its schedule a step lies.

    A schedule runs over ticks: a tick is a step, or a millionth of the time limit where there is
    one, as nobody knows beforehand how many steps fit into it.
    """

    batch: int  # images per step; fewer than the recipe's where there are fewer images
    steps_per_epoch: int
    steps: int  # in all, at most
    epochs: int  # at most
    seconds: float | None

    @classmethod
    def of(cls, fidelity: Fidelity, *, images: int, batch: int, micro: int | None = None) -> Self:
        """Of a training on so many images; batches hold whole micro-batches."""
        batch = min(batch, images)
        if micro is not None and batch > micro:
            batch -= batch % micro  # BatchNorm must not see a smaller one
        per_epoch = images // batch
        steps = fidelity.epochs * per_epoch
        return cls(
            batch=batch,
            steps_per_epoch=per_epoch,
            steps=steps if fidelity.steps is None else min(steps, fidelity.steps),
            epochs=fidelity.epochs,
            seconds=fidelity.seconds,
        )

    @property
    def ticks(self) -> int:
        """Of the whole training."""
        return self.steps if self.seconds is None else _TICKS

    def tick(self, *, step: int, seconds: float) -> int:
        """Where a step lies in the schedule."""
        if self.seconds is None:
            return step
        return min(int(seconds / self.seconds * _TICKS), _TICKS - 1)

    def steps_of_epoch(self, *, step: int) -> int:
        """Steps of an epoch that begins at this step."""
        return min(self.steps_per_epoch, self.steps - step)

    def out_of_time(self, seconds: float) -> bool:
        """Whether the time is up."""
        return self.seconds is not None and seconds >= self.seconds

    def over(self, *, step: int, epochs: int, seconds: float) -> bool:
        """Whether a training of at least one epoch has come to its end."""
        spent = step >= self.steps or epochs >= self.epochs
        return spent or (epochs > 0 and self.out_of_time(seconds))
