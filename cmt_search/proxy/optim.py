"""Learning-rate schedules and optimisers."""

import inspect
import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from timm.optim import Muon, create_optimizer_v2
from torch import nn

from cmt_search.errors import DataError
from cmt_search.recipe import ONE_CYCLE_START, OptimizerName, Recipe, ScheduleName


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """A part of a training with its own optimiser and schedule."""

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
        """Return the learning rate of a step, counted from the start of the training."""
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
        """Rise linearly, or for one-cycle by half a cosine from a twenty-fifth of the peak."""
        if self.schedule == "one-cycle":
            return ONE_CYCLE_START + (1 - ONE_CYCLE_START) * (1 - _fall(part))
        return part


def _fall(part: float) -> float:
    """Fall by half a cosine from 1 at 0 to 0 at 1."""
    return 0.5 * (1 + math.cos(math.pi * part))


def phases(
    recipe: Recipe, *, steps: int, scale: float = 1.0, per_epoch: int | None = None
) -> tuple[Phase, ...]:
    """Plan the phases of a training, first to last; one unless `two_phase` is set.

    `scale` is the recipe's `lr_scale` for the network, `per_epoch` the steps of an epoch. Phases
    without a step are left out.

    Raises:
        DataError: the warm-up is given in epochs, and `per_epoch` is unknown.
    """
    second = recipe.two_phase
    split = steps if second is None else round(second.at * steps)
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
    plan = [first]
    if second is not None:
        decay = recipe.weight_decay if second.weight_decay is None else second.weight_decay
        last = replace(
            first,
            number=1,
            start=split,
            steps=steps - split,
            optimizer=second.optimizer,
            peak=second.lr * scale,
            momentum=second.momentum,
            weight_decay=decay,
            schedule=second.schedule,
            warmup=0,
            decay=0,
        )
        plan.append(last)
    return tuple(phase for phase in plan if phase.steps > 0)


def _warmup(recipe: Recipe, *, steps: int, per_epoch: int | None) -> int:
    if recipe.warmup_epochs is None:
        return math.ceil(recipe.warmup_fraction * steps)
    if per_epoch is None:
        raise DataError(
            f"proxy.recipe.warmup_epochs={recipe.warmup_epochs:g} cannot be kept in a training "
            "that is limited by time; use warmup_fraction"
        )
    return math.ceil(recipe.warmup_epochs * per_epoch)


def phase_at(plan: tuple[Phase, ...], step: int) -> Phase:
    """Return the phase of a step."""
    return next(phase for phase in reversed(plan) if step >= phase.start)


def create_optimizer(
    model: nn.Module, *, phase: Phase, betas: tuple[float, float] | None
) -> torch.optim.Optimizer:
    """Create the optimiser of a phase.

    Biases, norms and parameters in the model's `no_weight_decay` are not decayed. Muon optimises
    matrices within the network, and leaves these and the classifier to its AdamW. On a GPU, state
    and learning rate are on the device where possible, so that a CUDA graph can record the step.
    """
    name, device = phase.optimizer, next(model.parameters()).device
    capturable = device.type == "cuda" and graph_obstacle(phase) is None
    lr: Any = torch.tensor(phase.peak, device=device) if capturable else phase.peak
    options: dict[str, Any] = {} if betas is None else {"betas": betas}
    if name in ("adamw", "sgd"):
        options["fused"] = True
    if name == "sgd":
        options["nesterov"] = False
    elif capturable:
        options["capturable"] = True
    optimizer: torch.optim.Optimizer = create_optimizer_v2(
        model,
        opt=name,
        lr=lr,
        weight_decay=phase.weight_decay,
        momentum=phase.momentum,
        fallback_list=("head.*",) if name == "muon" else (),
        fallback_no_weight_decay=name == "muon",
        **options,
    )
    return optimizer


def graph_obstacle(phase: Phase) -> str | None:
    """Explain why a CUDA graph cannot record this phase's optimiser; None where it can."""
    if phase.optimizer == "lion":
        return "timm's Lion reads its learning rate on the host"
    if phase.optimizer == "muon" and "capturable" not in inspect.signature(Muon).parameters:
        return "this release of timm has no capturable Muon"
    return None


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Set the learning rate of every group, without waiting for the device."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], torch.Tensor):
            group["lr"].fill_(lr)
        else:
            group["lr"] = lr
