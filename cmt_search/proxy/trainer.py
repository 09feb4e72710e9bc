"""Train a network: epochs, validation and the state of a checkpoint."""

import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
import torch
from timm.utils import ModelEmaV3
from torch import Tensor, nn
from torch.nn import functional as F

from cmt_search.arch import Arch
from cmt_search.builder import CMT
from cmt_search.evaluation import CurvePoint, Fidelity, TrainingFailed
from cmt_search.proxy.augment import Augmenter
from cmt_search.proxy.data import BatchLoader, Dataset, resize
from cmt_search.proxy.optim import (
    Phase,
    create_optimizer,
    graph_obstacle,
    phase_at,
    phases,
    set_lr,
)
from cmt_search.proxy.step import Normalize, Step, StepFunction, fastest_step, forward
from cmt_search.recipe import Recipe

_TIME_TICKS = 1_000_000  # steps of the schedule of a training that is limited by time
DIVERGENCE_HINT = "use a lower lr or clip_grad: 1"
_VAL_BATCH = 500  # images


def mean_loss(losses: Tensor, *, epoch: int) -> float:
    """Average the losses of an epoch's steps, read once: each read makes the host wait for a GPU.

    Raises:
        TrainingFailed: one is not finite.
    """
    broken = torch.nonzero(~losses.isfinite()).flatten().tolist()
    if broken:
        raise TrainingFailed(
            f"the loss became {losses[broken[0]].item()} in epoch {epoch}, step "
            f"{broken[0] + 1} of {len(losses)}; {DIVERGENCE_HINT}"
        )
    return float(losses.double().mean())


@torch.inference_mode()
def validate(
    model: nn.Module, loader: BatchLoader, *, side: int, normalize: Normalize
) -> tuple[float, Tensor]:
    """Return the unsmoothed cross-entropy, and which images are classified correctly, (N,) bool."""
    model.eval()
    order = torch.arange(len(loader.images)).split(_VAL_BATCH)
    batches = [
        (forward(model, normalize(resize(images, side))), labels)
        for images, labels in loader.batches(order)
    ]
    logits, labels = (torch.cat(parts) for parts in zip(*batches, strict=True))
    return float(F.cross_entropy(logits.double(), labels)), logits.argmax(1) == labels


def spawn_seeds(seed: int) -> tuple[int, int, int]:
    """Derive independent seeds of weights and drop path, image order, and augmentation.

    Trainings with different seeds share no random stream.
    """
    weights, order, augmentation = (
        int(child.generate_state(1, np.uint64)[0])
        for child in np.random.SeedSequence(seed).spawn(3)
    )
    return weights, order, augmentation


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingLength:
    """Steps of a training; of one that is limited by time, at most."""

    batch: int  # images per step; fewer than the recipe's where there are fewer images
    steps_per_epoch: int
    steps: int  # in all

    @classmethod
    def of(cls, fidelity: Fidelity, *, images: int, batch: int, micro: int | None = None) -> Self:
        """Derive the length from the number of images; batches hold whole micro-batches."""
        batch = min(batch, images)
        if micro is not None and batch > micro:
            batch -= batch % micro  # BatchNorm must not see a smaller one
        per_epoch = images // batch
        steps = fidelity.epochs * per_epoch
        if fidelity.steps is not None:
            steps = min(steps, fidelity.steps)
        return cls(batch=batch, steps_per_epoch=per_epoch, steps=steps)


class Training:
    """A network, its optimiser and its images on one device; `advance` runs an epoch.

    Its creation seeds torch's global generator, which draws weights and drop path.
    """

    def __init__(
        self, arch: Arch, *, data: Dataset, recipe: Recipe, fidelity: Fidelity, seed: int
    ) -> None:
        self.arch, self.data, self.recipe = arch, data, recipe
        self.fidelity, self.seed = fidelity, seed
        weights_seed, order_seed, augmentation_seed = spawn_seeds(seed)
        torch.manual_seed(weights_seed)
        self.device, side = data.mean.device, fidelity.image_size or arch.resolution
        self.model = CMT(
            arch,
            input_size=(side, side),
            drop_path_rate=recipe.drop_path_rate(arch.depth),
            pos_std=recipe.pos_std,
            residual_scale=recipe.residual_scale,
            decay_position=recipe.decay_position,
        ).to(self.device)
        self.model.to(memory_format=torch.channels_last)
        self.average: ModelEmaV3 | None = None  # of the weights; measured where there is one
        if recipe.ema:  # the decay warms up, so that the average forgets the initial weights
            self.average = ModelEmaV3(self.model, decay=recipe.ema, use_warmup=True)
        self.length = TrainingLength.of(
            fidelity, images=len(data.train), batch=recipe.batch, micro=recipe.micro_batch
        )
        self.plan = self._plan()
        self.phase = self.plan[0]  # the current one
        self.optimizer = create_optimizer(self.model, phase=self.phase)
        self._step_function: StepFunction | None = None  # of the current phase
        self.loader = BatchLoader.of(data.train, device=self.device)
        self.val_loader = BatchLoader.of(data.val, device=self.device)
        self.augmenter = Augmenter(spec=recipe.augment, side=side, num_classes=data.num_classes)
        # The order of the images is drawn on the CPU: the same on every device.
        self.order = torch.Generator().manual_seed(order_seed)
        self.generator = torch.Generator(self.device).manual_seed(augmentation_seed)
        self.step = 0  # steps done
        self.curve: list[CurvePoint] = []  # one point per epoch done
        self.correct = torch.zeros(0, dtype=torch.bool)  # which validation images are right
        self.seconds = 0.0  # wall time of the epochs done
        self.shared_seconds = 0.0  # of these, of epochs taken over from a shorter training

    def _plan(self) -> tuple[Phase, ...]:
        arch, recipe, length = self.arch, self.recipe, self.length
        sizes = arch.depth, arch.stages[0].width, arch.resolution
        scale = recipe.lr_scale(sizes=sizes, batch=length.batch)
        if self.fidelity.seconds is not None:
            return phases(recipe, steps=_TIME_TICKS, scale=scale)
        return phases(recipe, steps=length.steps, scale=scale, per_epoch=length.steps_per_epoch)

    @property
    def measured(self) -> nn.Module:
        """The network that is validated and saved: the average, if the recipe has `ema`."""
        if self.average is None:
            return self.model
        module: nn.Module = self.average.module
        return module

    @property
    def done(self) -> bool:
        """Whether the training, which has at least one epoch, is complete."""
        out_of_time = bool(self.curve) and self._out_of_time(self.seconds)
        return out_of_time or self.step >= self.length.steps

    def _out_of_time(self, seconds: float) -> bool:
        return self.fidelity.seconds is not None and seconds >= self.fidelity.seconds

    def _schedule_position(self, seconds: float) -> int:
        """Return the next step, or the millionth of the time limit: then its steps are unknown."""
        if self.fidelity.seconds is None:
            return self.step
        return min(int(seconds / self.fidelity.seconds * _TIME_TICKS), _TIME_TICKS - 1)

    def advance(self) -> None:
        """Train for one more epoch, and validate.

        Raises:
            TrainingFailed: the loss of a step, or of the validation, is not finite.
        """
        began = time.perf_counter()
        epoch = len(self.curve) + 1
        train_loss = mean_loss(self._train(began), epoch=epoch)
        loss, self.correct = validate(
            self.measured, self.val_loader, side=self.augmenter.side, normalize=self.data.normalize
        )
        if not math.isfinite(loss):
            raise TrainingFailed(
                f"the validation loss became {loss} after epoch {epoch}; {DIVERGENCE_HINT}"
            )
        top1 = float(self.correct.double().mean())
        self.curve.append(CurvePoint(epoch=epoch, train_loss=train_loss, loss=loss, top1=top1))
        self.seconds += time.perf_counter() - began

    def _train(self, began: float) -> Tensor:
        """Run the steps of an epoch, in a new order of the images, and return their losses.

        Images that do not fill a batch are left out: BatchNorm must not see a batch of one, and
        every batch has the same shape.
        """
        self.model.train()
        order = self._order()
        losses = torch.zeros(len(order), device=self.device)
        done = 0
        for images, labels in self.loader.batches(order):
            spent = self._spent(began)
            if self._out_of_time(spent):
                break
            position = self._schedule_position(spent)
            self._enter(phase_at(self.plan, position))
            set_lr(self.optimizer, self.phase.lr(position))
            losses[done].copy_(self.step_function()(images, labels))
            self.step += 1
            done += 1
            if self.average is not None:
                self.average.update(self.model, step=self.step)
        return losses[: max(done, 1)]

    def _spent(self, began: float) -> float:
        """Return the seconds so far; a schedule in time waits for the steps that a GPU has left."""
        if self.fidelity.seconds is not None and self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return self.seconds + time.perf_counter() - began

    def _order(self) -> Tensor:
        """Draw the images of each step. Shape: (steps of the epoch, batch)."""
        order = torch.randperm(len(self.data.train), generator=self.order)
        count = min(self.length.steps_per_epoch, self.length.steps - self.step)
        order = order[: count * self.length.batch].view(count, self.length.batch)
        if self.device.type == "cuda" and self.loader.resident:  # once, and without waiting for it
            return order.pin_memory().to(self.device, non_blocking=True)
        return order

    def _enter(self, phase: Phase) -> None:
        """Switch to the optimiser of another phase; it starts without momentum."""
        if phase is not self.phase:
            self.phase, self._step_function = phase, None
            self.optimizer.zero_grad(set_to_none=True)
            self.optimizer = create_optimizer(self.model, phase=phase)

    def step_function(self) -> StepFunction:
        """Return the step of the current phase."""
        if self._step_function is None:
            step = Step(
                model=self.model,
                optimizer=self.optimizer,
                augment=self.augmenter,
                normalize=self.data.normalize,
                generator=self.generator,
                recipe=self.recipe,
            )
            self._step_function = fastest_step(
                step, device=self.device, obstacle=graph_obstacle(self.phase.recipe.optimizer)
            )
        return self._step_function

    def state(self) -> dict[str, Any]:
        """Return what another process needs to continue to the same numbers."""
        return {
            "model": self.model.state_dict(),
            "average": None if self.average is None else self.average.module.state_dict(),
            "phase": self.plan.index(self.phase),
            "optimizer": self.optimizer.state_dict(),
            "order": self.order.get_state(),
            "generator": self.generator.get_state(),
            "step": self.step,
            "curve": [asdict(point) for point in self.curve],
            "correct": self.correct,
            "seconds": self.seconds,
            "shared_seconds": self.shared_seconds,
            "cpu_rng": torch.get_rng_state(),
            "cuda_rng": torch.cuda.get_rng_state(self.device)
            if self.device.type == "cuda"
            else None,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from a `state`."""
        self._enter(self.plan[state["phase"]])
        self.model.load_state_dict(state["model"])
        if self.average is not None:
            self.average.module.load_state_dict(state["average"])
        rates = [group["lr"] for group in self.optimizer.param_groups]
        self.optimizer.load_state_dict(state["optimizer"])
        for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
            group["lr"] = rate  # a tensor that a graph reads stays on its device
        self.order.set_state(state["order"])
        self.generator.set_state(state["generator"])
        self.step = state["step"]
        self.curve = [CurvePoint(**point) for point in state["curve"]]
        self.correct = state["correct"].to(self.device)
        self.seconds, self.shared_seconds = state["seconds"], state["shared_seconds"]
        torch.set_rng_state(state["cpu_rng"])
        if state["cuda_rng"] is not None:
            torch.cuda.set_rng_state(state["cuda_rng"], self.device)
