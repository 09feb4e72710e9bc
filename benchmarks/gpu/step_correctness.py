"""Captured steps against eager ones, determinism, and resuming."""

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from unittest import mock

import torch
from plan import Context, Row
from torch import Tensor, nn

from cmt_search.evaluation import Fidelity, Measurement
from cmt_search.presets import PRESETS
from cmt_search.proxy import Dataset, DatasetSpec, Recipe, load_dataset, train
from cmt_search.proxy import step as step_module
from cmt_search.proxy import trainer as trainer_module
from cmt_search.proxy.evaluator import device_mode
from cmt_search.proxy.step import GraphStep
from cmt_search.proxy.trainer import Training

ARCH = replace(PRESETS["cmt_pico"], in_chans=1)
RECIPE = Recipe(batch=64, drop_path=0.1, clip_grad=1.0)
LARGEST = {"fp32": (1e-4, 1e-3), "bf16": (2e-3, 2e-2)}  # relative difference of losses, weights


class Interrupted(Exception):
    """A training was stopped after its first epoch."""


def measure(context: Context) -> Iterator[Row]:
    """Yield a row per case."""
    data = load_dataset(DatasetSpec())
    cases: dict[str, Callable[[], Row]] = {
        "captured, fp32": lambda: compare_steps(context, data, precision="fp32"),
        "captured, bf16": lambda: compare_steps(context, data, precision="bf16"),
        "deterministic": lambda: compare_trainings(context, data, resumed=False),
        "resumed": lambda: compare_trainings(context, data, resumed=True),
    }
    for case in context.pending(cases):
        try:
            yield {"case": case, **cases[case]()}
        except RuntimeError as error:  # such as an operator without a deterministic kernel
            yield {"case": case, "passed": False, "note": str(error).split("\n")[0]}


def compare_steps(context: Context, data: Dataset, *, precision: str) -> Row:
    """Compare losses and weights of captured and eager steps. Without a GPU, both are eager."""
    steps = 3 if context.quick else 50
    captured, captured_weights, reason = run_steps(
        context, data, steps=steps, precision=precision, eager=False
    )
    eager, eager_weights, _ = run_steps(context, data, steps=steps, precision=precision, eager=True)
    of_losses = float(((captured - eager) / eager).abs().max())
    of_weights = float((captured_weights - eager_weights).norm() / eager_weights.norm())
    most_loss, most_weight = LARGEST[precision]
    return {
        "steps": steps,
        "loss_difference": of_losses,
        "weight_difference": of_weights,
        "identical": torch.equal(captured_weights, eager_weights),
        "passed": reason is None and of_losses <= most_loss and of_weights <= most_weight,
        "note": reason or "",
    }


def run_steps(
    context: Context, data: Dataset, *, steps: int, precision: str, eager: bool
) -> tuple[Tensor, Tensor, str | None]:
    """Train for some steps; return losses, all weights, and why steps were not captured."""
    device = torch.device(context.device)
    part = data.to(device).subset(0.1 if context.quick else 0.5)
    with contextlib.ExitStack() as stack:
        stack.enter_context(device_mode(device, deterministic=True))
        if precision == "fp32":
            stack.enter_context(mock.patch.object(step_module, "forward", forward_fp32))
        if eager:
            stack.enter_context(
                mock.patch.object(trainer_module, "fastest_step", lambda step, **_: step)
            )
        training = Training(
            ARCH, data=part, recipe=RECIPE, fidelity=Fidelity(epochs=50, steps=steps), seed=0
        )
        losses = []
        while not training.done:
            losses.append(training._train(0.0).cpu())
    step = training.step_function()
    reason = step.reason if isinstance(step, GraphStep) else None
    if context.on_gpu and not eager and not isinstance(step, GraphStep):
        reason = "the step was not captured"
    weights = torch.cat([p.detach().float().cpu().flatten() for p in training.model.parameters()])
    return torch.cat(losses), weights, reason


def forward_fp32(model: nn.Module, x: Tensor) -> Tensor:
    """Compute logits without autocast."""
    logits: Tensor = model(x)
    return logits


def compare_trainings(context: Context, data: Dataset, *, resumed: bool) -> Row:
    """Compare a deterministic training with its repeat, which may stop and resume."""
    whole = run_training(context, data)
    with tempfile.TemporaryDirectory() as folder:
        if resumed:
            with contextlib.suppress(Interrupted):
                run_training(context, data, folder=Path(folder), on_epoch=interrupt)
        other = run_training(context, data, folder=Path(folder))
    identical = replace(whole, seconds=0.0) == replace(other, seconds=0.0)
    return {
        "steps": "",
        "loss_difference": abs(other.loss - whole.loss) / whole.loss,
        "weight_difference": "",
        "identical": identical,
        "passed": identical,
        "note": "" if identical else f"top1 {whole.top1:.4f} and {other.top1:.4f}",
    }


def run_training(
    context: Context,
    data: Dataset,
    *,
    folder: Path | None = None,
    on_epoch: Callable[[Training], None] | None = None,
) -> Measurement:
    """Train for two epochs."""
    return train(
        ARCH,
        data=data,
        recipe=RECIPE,
        fidelity=Fidelity(epochs=2, data_fraction=0.05 if context.quick else 0.5),
        seed=0,
        device=context.device,
        deterministic=True,
        folder=folder,
        on_epoch=on_epoch,
    )


def interrupt(training: Training) -> None:
    """Stop a training after its first epoch."""
    if len(training.curve) == 1:
        raise Interrupted
