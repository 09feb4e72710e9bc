"""Learning-rate schedules and optimisers."""

import inspect
import math
from dataclasses import dataclass
from typing import Any

import torch
from timm.optim import Lion, Muon, param_groups_weight_decay
from torch import nn

from cmt_search.errors import DataError
from cmt_search.recipe import ONE_CYCLE_START, OptimizerName, Recipe, ScheduleName, TwoPhase


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """A part of a training with one optimiser and a schedule of its own."""

    number: int  # 0 is the first
    start: int  # step it begins at, 0 the first of the training
    steps: int  # steps it lasts
    optimizer: OptimizerName
    peak: float  # learning rate, scaled with batch and width
    momentum: float
    weight_decay: float
    schedule: ScheduleName
    warmup: int  # of its steps, the first
    decay: int  # of its steps, the last: where wsd comes down
    final: float  # learning rate at its end, as a fraction of the peak

    def lr(self, step: int) -> float:
        """Learning rate of a step of the training that lies in this phase."""
        step -= self.start
        if step < self.warmup:
            return self.peak * self._rise((step + 1) / (self.warmup + 1))
        if self.schedule == "constant":
            return self.peak
        if self.schedule == "wsd":
            # Below 1 in the first step of the decay already: the step before it was the last at 1.
            done = max(0, step + 1 - (self.steps - self.decay)) / (self.decay + 1)
            return self.peak * (self.final + (1 - self.final) * (1 - math.sqrt(done)))
        done = (step - self.warmup) / max(self.steps - self.warmup, 1)
        return self.peak * (self.final + (1 - self.final) * _fall(done))

    def _rise(self, part: float) -> float:
        """Linear, or for one-cycle half a cosine from a twenty-fifth of the peak."""
        if self.schedule == "one-cycle":
            return ONE_CYCLE_START + (1 - ONE_CYCLE_START) * (1 - _fall(part))
        return part


def _fall(part: float) -> float:
    """Half a cosine: 1 at 0, 0 at 1."""
    return 0.5 * (1 + math.cos(math.pi * part))


def phases(
    recipe: Recipe, *, steps: int, scale: float = 1.0, per_epoch: int | None = None
) -> tuple[Phase, ...]:
    """The phases of a training of so many steps, first to last; one unless `two_phase` is set.

    `scale` is the recipe's `lr_scale` for the network, `per_epoch` the steps of an epoch. A second
    phase that would have no step is left out, and so is a first.

    Raises:
        DataError: the warm-up is given in epochs, and nobody knows how many steps these have.
    """
    split = steps if recipe.two_phase is None else round(recipe.two_phase.at * steps)
    first = Phase(
        number=0,
        start=0,
        steps=split,
        optimizer=recipe.optimizer,
        peak=recipe.lr * scale,
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
        schedule=recipe.schedule,
        warmup=_warmup(recipe, steps=split, per_epoch=per_epoch),
        decay=math.ceil(recipe.decay_fraction * split - 1e-9),
        final=recipe.final_lr,
    )
    found = [first]
    if recipe.two_phase is not None:
        found.append(_second(recipe, recipe.two_phase, start=split, steps=steps, scale=scale))
    return tuple(phase for phase in found if phase.steps > 0)


def _warmup(recipe: Recipe, *, steps: int, per_epoch: int | None) -> int:
    if recipe.warmup_epochs is None:
        return math.ceil(recipe.warmup_fraction * steps)
    if per_epoch is None:
        raise DataError(
            f"proxy.recipe.warmup_epochs={recipe.warmup_epochs:g} cannot be kept in a training "
            "that is limited by time; use warmup_fraction"
        )
    return math.ceil(recipe.warmup_epochs * per_epoch)


def _second(recipe: Recipe, second: TwoPhase, *, start: int, steps: int, scale: float) -> Phase:
    decay = recipe.weight_decay if second.weight_decay is None else second.weight_decay
    return Phase(
        number=1,
        start=start,
        steps=steps - start,
        optimizer=second.optimizer,
        peak=second.lr * scale,
        momentum=second.momentum,
        weight_decay=decay,
        schedule=second.schedule,
        warmup=0,
        decay=0,
        final=recipe.final_lr,
    )


def phase_at(found: tuple[Phase, ...], step: int) -> Phase:
    """The phase that a step lies in."""
    return next(phase for phase in reversed(found) if step >= phase.start)


_ON_HOST = {  # what a CUDA graph cannot record, and why
    "lion": "timm's Lion reads its learning rate on the host",
    "muon": "this release of timm has no capturable Muon",
}


def make_optimizer(
    model: nn.Module, *, phase: Phase, betas: tuple[float, float] | None, graph: bool = False
) -> torch.optim.Optimizer:
    """The optimiser of a phase, over the model's parameters.

    Biases, norms and what the model's `no_weight_decay` names are not decayed. Muon gives these
    and the classifier to its own AdamW, as it is for matrices within a network. With `graph`, the
    state and the learning rate live on the device, so that a CUDA graph can hold the step.
    """
    no_decay: set[str] = getattr(model, "no_weight_decay", set)()
    muon = phase.optimizer == "muon"
    groups = param_groups_weight_decay(
        model,
        weight_decay=phase.weight_decay,
        no_weight_decay_list=no_decay,
        fallback_list=("head.*",) if muon else (),
        fallback_no_weight_decay=muon,
    )
    device = next(model.parameters()).device
    lr: Any = torch.tensor(phase.peak, device=device) if graph else phase.peak
    own: dict[str, Any] = {} if betas is None else {"betas": betas}
    match phase.optimizer:
        case "adamw":
            return torch.optim.AdamW(groups, lr=lr, fused=True, capturable=graph, **own)
        case "sgd":
            return torch.optim.SGD(groups, lr=lr, momentum=phase.momentum, fused=True)
        case "lion":
            lion: torch.optim.Optimizer = Lion(groups, lr=phase.peak, **own)
            return lion
        case "muon":
            extra = {"capturable": True} if graph else {}
            made: torch.optim.Optimizer = Muon(
                groups, lr=lr, momentum=phase.momentum, **own, **extra
            )
            return made


def why_no_graph(phase: Phase) -> str | None:
    """Why a CUDA graph cannot hold this phase's optimiser, or None where it can."""
    if phase.optimizer == "muon" and "capturable" in inspect.signature(Muon).parameters:
        return None
    return _ON_HOST.get(phase.optimizer)


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Give every group this learning rate, without waiting for the device."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], torch.Tensor):
            group["lr"].fill_(lr)
        else:
            group["lr"] = lr
