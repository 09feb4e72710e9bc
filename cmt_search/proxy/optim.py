"""Learning-rate schedules and optimisers."""

import inspect
import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from timm.optim import Lion, Muon, create_optimizer_v2
from torch import nn

from cmt_search.errors import DataError
from cmt_search.recipe import ONE_CYCLE_START, OptimizerName, Recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """A part of a training with its own optimiser and schedule."""

    recipe: Recipe
    scale: float  # of the recipe's learning rate
    start: int  # step it begins at, 0 the first of the training
    steps: int  # steps it lasts
    warmup: int  # of its steps, the first

    @property
    def peak(self) -> float:
        """Highest learning rate."""
        return self.recipe.lr * self.scale

    @property
    def decay(self) -> int:
        """Last steps, in which wsd comes down."""
        return math.ceil(self.recipe.decay_fraction * self.steps - 1e-9)

    def lr(self, step: int) -> float:
        """Return the learning rate of a step, counted from the start of the training."""
        step -= self.start
        final, schedule = self.recipe.final_lr, self.recipe.schedule
        if step < self.warmup:
            part = (step + 1) / (self.warmup + 1)
            if schedule == "one-cycle":
                part = ONE_CYCLE_START + (1 - ONE_CYCLE_START) * (1 - _fall(part))
            return self.peak * part
        if schedule == "constant":
            return self.peak
        if schedule == "wsd":
            # Below 1 in the first step of the decay already: the step before it was the last at 1.
            done = max(0, step + 1 - (self.steps - self.decay)) / (self.decay + 1)
            return self.peak * (final + (1 - final) * (1 - math.sqrt(done)))
        done = (step - self.warmup) / max(self.steps - self.warmup, 1)
        return self.peak * (final + (1 - final) * _fall(done))


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
    warmup = _warmup(recipe, steps=split, per_epoch=per_epoch)
    plan = [Phase(recipe=recipe, scale=scale, start=0, steps=split, warmup=warmup)]
    if second is not None:
        decay = recipe.weight_decay if second.weight_decay is None else second.weight_decay
        later = replace(
            recipe,
            optimizer=second.optimizer,
            lr=second.lr,
            momentum=second.momentum,
            weight_decay=decay,
            schedule=second.schedule,
        )
        plan.append(Phase(recipe=later, scale=scale, start=split, steps=steps - split, warmup=0))
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


def create_optimizer(model: nn.Module, *, phase: Phase) -> torch.optim.Optimizer:
    """Create the optimiser of a phase.

    Biases, norms and parameters in the model's `no_weight_decay` are not decayed. Muon optimises
    matrices within the network, and leaves these and the classifier to its AdamW. On a GPU, state
    and learning rate are on the device where possible, so that a CUDA graph can record the step.
    """
    recipe, device = phase.recipe, next(model.parameters()).device
    name = recipe.optimizer
    capturable = device.type == "cuda" and graph_obstacle(name) is None
    lr: Any = torch.tensor(phase.peak, device=device) if capturable else phase.peak
    options: dict[str, Any] = {} if recipe.betas is None else {"betas": recipe.betas}
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
        weight_decay=recipe.weight_decay,
        momentum=recipe.momentum,
        fallback_list=("head.*",) if name == "muon" else (),
        fallback_no_weight_decay=name == "muon",
        **options,
    )
    return optimizer


def graph_obstacle(optimizer: OptimizerName) -> str | None:
    """Explain why a CUDA graph cannot record an optimiser; None where it can.

    Others than capturable ones read the learning rate on the host: a graph would repeat the first.
    """
    timm_optimizer = {"lion": Lion, "muon": Muon}.get(optimizer)
    if timm_optimizer and "capturable" not in inspect.signature(timm_optimizer).parameters:
        return f"{timm_optimizer.__name__} of this release of timm is not capturable"
    return None


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Set the learning rate of every group, without waiting for the device."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], torch.Tensor):
            group["lr"].fill_(lr)
        else:
            group["lr"] = lr
