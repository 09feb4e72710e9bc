"""A training under way: its epochs, its validation, and the state to continue it from."""

import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

import torch
from timm.optim import param_groups_weight_decay
from torch import Tensor, nn
from torch.nn import functional as F

from cmt_search.arch import Arch
from cmt_search.builder import build
from cmt_search.evaluation import CurvePoint, TrainingFailed
from cmt_search.proxy.augment import augment
from cmt_search.proxy.dataset import Dataset
from cmt_search.recipe import Recipe

_VAL_BATCH = 500  # images
_CALMER = "use a lower lr or clip_grad: 1"


@dataclass(slots=True, kw_only=True)
class Training:
    """A network, its optimiser and its images, all on one device; `advance` runs an epoch."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    generator: torch.Generator  # of the order, the crops and the flips
    data: Dataset
    padded: Tensor  # training images (N, C, P, P) with the margin that crops may reach into
    recipe: Recipe
    epochs: int
    curve: list[CurvePoint] = field(default_factory=list)  # one point per epoch done
    correct: Tensor  # (N,) bool: which validation images were right after the last epoch
    seconds: float = 0.0  # wall time of the epochs done

    @classmethod
    def start(cls, arch: Arch, *, data: Dataset, recipe: Recipe, epochs: int, seed: int) -> Self:
        """Everything before the first step; weights come from torch's global generator."""
        device, side = data.mean.device, data.resolution
        model = build(
            arch,
            input_size=(side, side),
            drop_path_rate=recipe.drop_path,
            pos_std=recipe.pos_std,
            residual_scale=recipe.residual_scale,
            decay_position=recipe.decay_position,
        ).to(device)
        model.to(memory_format=torch.channels_last)
        groups = param_groups_weight_decay(
            model,
            weight_decay=recipe.weight_decay,
            no_weight_decay_list=model.no_weight_decay(),
        )
        margin = round(recipe.crop_padding * side)
        return cls(
            model=model,
            optimizer=torch.optim.AdamW(groups, fused=True),
            generator=torch.Generator(device).manual_seed(seed),
            data=data,
            padded=F.pad(data.train.images, (margin,) * 4),
            recipe=recipe,
            epochs=epochs,
            correct=torch.zeros_like(data.val.labels, dtype=torch.bool),
        )

    def advance(self) -> None:
        """Train for one more epoch, and validate.

        Raises:
            TrainingFailed: the loss of a step, or of the validation, is not finite.
        """
        began = time.perf_counter()
        epoch = len(self.curve) + 1
        train_loss = self._mean(self._train(epoch), epoch=epoch)
        loss, self.correct = self._validate()
        if not math.isfinite(loss):
            raise TrainingFailed(
                f"the validation loss became {loss} after epoch {epoch}; {_CALMER}"
            )
        top1 = float(self.correct.double().mean())
        self.curve.append(CurvePoint(epoch=epoch, train_loss=train_loss, loss=loss, top1=top1))
        self.seconds += time.perf_counter() - began

    def _train(self, epoch: int) -> Tensor:
        """Every image once, in a new order; the losses of the steps.

        Images that fill no batch are left out of the epoch, as BatchNorm must not see a batch of
        one.
        """
        self.model.train()
        labels = self.data.train.labels
        batch = min(self.recipe.batch, len(labels))
        order = torch.randperm(len(labels), generator=self.generator, device=labels.device)
        batches = torch.split(order[: len(labels) // batch * batch], batch)
        before, steps = (epoch - 1) * len(batches), self.epochs * len(batches)
        losses = []
        for i, chosen in enumerate(batches):
            for group in self.optimizer.param_groups:
                group["lr"] = self.recipe.lr_at(before + i, steps=steps)
            losses.append(self._step(chosen))
        return torch.stack(losses)

    def _step(self, chosen: Tensor) -> Tensor:
        images = augment(
            self.padded,
            chosen,
            side=self.data.resolution,
            flip=self.recipe.flip,
            generator=self.generator,
        )
        loss = F.cross_entropy(
            self._logits(images),
            self.data.train.labels[chosen],
            label_smoothing=self.recipe.label_smoothing,
        )
        self.optimizer.zero_grad()
        torch.autograd.backward(loss)
        if self.recipe.clip_grad is not None:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.clip_grad)
        self.optimizer.step()
        return loss.detach()

    def _mean(self, losses: Tensor, *, epoch: int) -> float:
        """Looked at once per epoch: a look at each step would have a GPU wait for it."""
        broken = torch.nonzero(~losses.isfinite()).flatten().tolist()
        if broken:
            raise TrainingFailed(
                f"the loss became {losses[broken[0]].item()} in epoch {epoch}, step "
                f"{broken[0] + 1} of {len(losses)}; {_CALMER}"
            )
        return float(losses.double().mean())

    @torch.inference_mode()
    def _validate(self) -> tuple[float, Tensor]:
        """Unsmoothed cross-entropy on the validation images, and which of them are right, (N,)."""
        self.model.eval()
        images, labels = self.data.val.images, self.data.val.labels
        logits = torch.cat([self._logits(chunk) for chunk in torch.split(images, _VAL_BATCH)])
        loss = F.cross_entropy(logits.double(), labels)
        return float(loss), logits.argmax(1) == labels

    def _logits(self, images: Tensor) -> Tensor:
        """Shape: (B, C, S, S) uint8 to (B, classes) float32."""
        shape = (1, -1, 1, 1)
        x = images.to(memory_format=torch.channels_last, dtype=torch.float32)
        x = x.sub_(self.data.mean.view(shape)).div_(self.data.std.view(shape))
        with torch.autocast(x.device.type, dtype=torch.bfloat16, enabled=x.is_cuda):
            logits: Tensor = self.model(x)
        return logits.float()

    def state(self) -> dict[str, Any]:
        """What another process needs to go on as this one would."""
        device = self.padded.device
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "generator": self.generator.get_state(),
            "curve": [asdict(point) for point in self.curve],
            "correct": self.correct,
            "seconds": self.seconds,
            "cpu_rng": torch.get_rng_state(),
            "cuda_rng": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.generator.set_state(state["generator"])
        self.curve = [CurvePoint(**point) for point in state["curve"]]
        self.correct = state["correct"]
        self.seconds = state["seconds"]
        torch.set_rng_state(state["cpu_rng"])
        if state["cuda_rng"] is not None:
            torch.cuda.set_rng_state(state["cuda_rng"], self.padded.device)
