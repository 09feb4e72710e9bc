"""One training step: augmentation, forward, backward, optimiser."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Augment = Callable[..., tuple[Tensor, Tensor]]
"""`(images, labels, generator=)` to images and targets; see `proxy.augment.Augmenter`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Normalize:
    """Normalise images of 0..255.

    Shape: (B, C, S, S) uint8 or float to the same in float32, channels last.
    """

    mean: Tensor  # (1, C, 1, 1), 0..255
    inverse_std: Tensor  # likewise

    @classmethod
    def of(cls, mean: Tensor, std: Tensor) -> "Normalize":
        """Create from the mean and standard deviation of the channels, each (C,)."""
        return cls(mean=mean.view(1, -1, 1, 1), inverse_std=std.reciprocal().view(1, -1, 1, 1))

    def __call__(self, images: Tensor) -> Tensor:
        """Return a normalised copy."""
        x = images.to(dtype=torch.float32, memory_format=torch.channels_last, copy=True)
        return x.sub_(self.mean).mul_(self.inverse_std)


@dataclass(slots=True, kw_only=True, eq=False)
class Step:
    """A whole step on the device.

    It reads no value back to the host, and its shapes are those of its input, so a CUDA graph can
    record it as it is.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    augment: Augment
    normalize: Normalize
    generator: torch.Generator  # of the augmentation
    label_smoothing: float = 0.0
    clip_grad: float | None = None
    micro_batch: int | None = None  # images per pass; None: all of them

    def __call__(self, images: Tensor, labels: Tensor) -> Tensor:
        """Train on a batch and return its mean loss.

        Shape: (B, C, S, S) uint8 and (B,) int64 to ().
        """
        self.optimizer.zero_grad(set_to_none=True)
        inputs, targets = self.augment(images, labels, generator=self.generator)
        loss = self._accumulate_gradients(inputs, targets)
        if self.clip_grad is not None:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.clip_grad)
        self.optimizer.step()
        return loss

    def _accumulate_gradients(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """Run passes of one micro-batch each; BatchNorm sees that many images."""
        size = self.micro_batch or len(inputs)
        losses = []
        for images, target in zip(inputs.split(size), targets.split(size), strict=True):
            loss = F.cross_entropy(
                forward(self.model, self.normalize(images)),
                target,
                label_smoothing=self.label_smoothing,
            ) * (len(images) / len(inputs))
            torch.autograd.backward(loss)
            losses.append(loss.detach())
        return losses[0] if len(losses) == 1 else torch.stack(losses).sum()


def forward(model: nn.Module, x: Tensor) -> Tensor:
    """Compute logits in float32; on a GPU the network itself runs in bfloat16."""
    with torch.autocast(x.device.type, dtype=torch.bfloat16, enabled=x.is_cuda):
        logits: Tensor = model(x)
    return logits.float()
