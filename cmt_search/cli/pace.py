"""How long trainings take on this machine: a few steps of two networks, taken as a line in MACs."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cmt_search.space import Rung, SearchSpace

_FEW, _MORE = 2, 8  # steps; the difference is free of what comes with every training


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """What was measured of one network."""

    macs: int
    step: float  # seconds of a step
    rest: float  # seconds of an epoch besides its steps: validation, above all


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """Seconds of trainings, between the smallest network and the largest that were timed."""

    small: Timed
    large: Timed
    images: int  # to train on, before a fidelity takes its part
    batch: int

    def seconds(self, rung: "Rung") -> float:
        """Of one training."""
        fidelity = rung.fidelity
        per_epoch = max(1, round(self.images * fidelity.data_fraction) // self.batch)
        steps = fidelity.epochs * per_epoch
        if fidelity.steps is not None:
            steps = min(steps, fidelity.steps)
        epochs = -(-steps // per_epoch)
        took = steps * self._at(rung.macs, "step") + epochs * self._at(rung.macs, "rest")
        return took if fidelity.seconds is None else min(took, fidelity.seconds)

    def _at(self, macs: int, name: str) -> float:
        low, high = getattr(self.small, name), getattr(self.large, name)
        span = self.large.macs - self.small.macs
        part = (macs - self.small.macs) / span if span else 1.0
        return float(low + (high - low) * min(max(part, 0.0), 1.0))

    def __str__(self) -> str:
        sizes = (self.small, self.large)
        steps = " and ".join(f"{1000 * one.step:,.0f} ms at {one.macs:,} MACs" for one in sizes)
        return f"a step of {self.batch} images took {steps}"


def pace_of(space: "SearchSpace", rungs: "Sequence[Rung]", *, device: str | None) -> Pace:
    """Time the smallest and the largest of these networks here.

    Raises:
        DataError: the images cannot be read.
        TrainingFailed: a loss is not finite.
    """
    from cmt_search.cli.wiring import make_evaluator

    evaluate = make_evaluator(space.proxy.dataset, recipe=space.proxy.recipe, device=device)
    images = len(evaluate.data.train)
    batch = min(space.proxy.recipe.batch, images)
    most = min(_MORE, images // batch)  # of one epoch

    def timed(rung: "Rung") -> Timed:
        def seconds(steps: int) -> float:
            few = replace(rung.fidelity, epochs=1, steps=steps, seconds=None, data_fraction=1.0)
            return evaluate(rung.arch, fidelity=few, seed=space.seed).seconds

        seconds(1)  # the first is slower than the rest
        if most <= _FEW:  # too few images to tell steps from validation
            return Timed(macs=rung.macs, step=seconds(most) / most, rest=0.0)
        few, more = seconds(_FEW), seconds(most)
        step = max(0.0, more - few) / (most - _FEW)
        return Timed(macs=rung.macs, step=step, rest=max(0.0, few - _FEW * step))

    by_macs = sorted(rungs, key=lambda rung: rung.macs)
    return Pace(small=timed(by_macs[0]), large=timed(by_macs[-1]), images=images, batch=batch)
