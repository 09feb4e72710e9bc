"""Makes the optimiser of a phase; fused where PyTorch has it, timm's where it has not."""

import inspect
from typing import Any

import torch
from timm.optim import Lion, Muon, param_groups_weight_decay
from torch import nn

from cmt_search.proxy.schedule import Phase

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
    spared: set[str] = getattr(model, "no_weight_decay", set)()
    muon = phase.optimizer == "muon"
    groups = param_groups_weight_decay(
        model,
        weight_decay=phase.weight_decay,
        no_weight_decay_list=spared,
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
