"""One training step, eager or captured as a CUDA graph."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Augment = Callable[..., tuple[Tensor, Tensor]]
"""`(images, labels, generator=)` to images and targets; see `proxy.augment.Augmenter`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Normalise:
    """From stored images to what a network sees.

    Shape: (B, C, S, S) uint8 or float in 0..255 to the same in float32, channels last.
    """

    mean: Tensor  # (1, C, 1, 1), 0..255
    inverse_std: Tensor  # likewise

    @classmethod
    def of(cls, mean: Tensor, std: Tensor) -> "Normalise":
        """By the mean and standard deviation of the channels, each (C,)."""
        return cls(mean=mean.view(1, -1, 1, 1), inverse_std=std.reciprocal().view(1, -1, 1, 1))

    def __call__(self, images: Tensor) -> Tensor:
        """The normalised images, in memory of their own."""
        x = images.to(dtype=torch.float32, memory_format=torch.channels_last, copy=True)
        return x.sub_(self.mean).mul_(self.inverse_std)


@dataclass(slots=True, kw_only=True, eq=False)
class Step:
    """A whole step on the device: augmentation, forward, backward, optimiser.

    It looks at no number on the host, and its shapes are those of its input: what a CPU runs line
    by line, a CUDA graph records as it is.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    augment: Augment
    normalise: Normalise
    generator: torch.Generator  # of the augmentation
    label_smoothing: float = 0.0
    clip_grad: float | None = None
    micro_batch: int | None = None  # images per pass; None: all of them

    def __call__(self, images: Tensor, labels: Tensor) -> Tensor:
        """Train on a batch; its mean loss.

        Shape: (B, C, S, S) uint8 and (B,) int64 to ().
        """
        self.optimizer.zero_grad(set_to_none=True)
        inputs, targets = self.augment(images, labels, generator=self.generator)
        loss = self._gradients(inputs, targets)
        if self.clip_grad is not None:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.clip_grad)
        self.optimizer.step()
        return loss

    def _gradients(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """Passes of a micro-batch each: BatchNorm sees that many images, and no more."""
        size = self.micro_batch or len(inputs)
        parts = zip(inputs.split(size), targets.split(size), strict=True)
        losses = []
        for images, target in parts:
            loss = F.cross_entropy(
                forward(self.model, self.normalise(images)),
                target,
                label_smoothing=self.label_smoothing,
            ) * (len(images) / len(inputs))
            torch.autograd.backward(loss)
            losses.append(loss.detach())
        return losses[0] if len(losses) == 1 else torch.stack(losses).sum()


def forward(model: nn.Module, x: Tensor) -> Tensor:
    """Logits in float32; the network itself runs in bfloat16 on a GPU."""
    with torch.autocast(x.device.type, dtype=torch.bfloat16, enabled=x.is_cuda):
        logits: Tensor = model(x)
    return logits.float()


_WARM_UP = 3  # steps before a recording: libraries choose kernels and allocate in the first ones
log = logging.getLogger(__name__)

Stepper = Callable[[Tensor, Tensor], Tensor]
"""`(images, labels)` to the loss of the step, which stays on the device."""


class Recorder(Protocol):
    """What runs a step before it is recorded, and what records it."""

    def warm_up(self, run: Callable[[], Tensor]) -> Tensor:
        """Run a step in the setting of a recording."""
        ...

    def record(self, run: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
        """Record a step without running it: its replay, and where the loss will stand."""
        ...


@dataclass(slots=True, kw_only=True)
class CudaRecorder:
    """CUDA graphs; the generators of the process and of the augmentation go on with each replay."""

    device: torch.device
    generator: torch.Generator

    def warm_up(self, run: Callable[[], Tensor]) -> Tensor:
        """On a stream of its own, as PyTorch asks for."""
        side, current = torch.cuda.Stream(self.device), torch.cuda.current_stream(self.device)
        side.wait_stream(current)
        with torch.cuda.stream(side):
            loss = run()
        current.wait_stream(side)
        return loss

    def record(self, run: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
        """Gradients and activations live in the graph's own memory from here on."""
        graph = torch.cuda.CUDAGraph()
        graph.register_generator_state(self.generator)
        # The thread that reads images may go on allocating pinned memory meanwhile.
        mode = "thread_local"
        with torch.cuda.device(self.device), torch.cuda.graph(graph, capture_error_mode=mode):
            loss = run()
        return graph.replay, loss


@dataclass(slots=True, kw_only=True, eq=False)
class GraphStep:
    """A step that is run as it is at first, then recorded, then replayed.

    The steps before the recording are steps of the training like any other, so it makes no
    difference to the numbers when the recording happens. Where it fails, the step goes on as it
    is, and `reason` says why.
    """

    step: Step
    recorder: Recorder
    warm_up: int = _WARM_UP
    reason: str | None = None  # why it is not replayed
    _done: int = 0
    _images: Tensor | None = field(default=None)
    _labels: Tensor | None = field(default=None)
    _replay: Callable[[], None] | None = field(default=None)
    _loss: Tensor | None = field(default=None)

    def __call__(self, images: Tensor, labels: Tensor) -> Tensor:
        """Train on a batch; every batch has the shape of the first."""
        if self.reason is not None:
            return self.step(images, labels)
        if self._done < self.warm_up:
            self._done += 1
            return self.recorder.warm_up(lambda: self.step(images, labels))
        if self._replay is None and not self._record(images, labels):
            return self.step(images, labels)
        assert self._images is not None
        assert self._labels is not None
        assert self._loss is not None
        assert self._replay is not None
        self._images.copy_(images, non_blocking=True)
        self._labels.copy_(labels, non_blocking=True)
        self._replay()
        return self._loss

    def _record(self, images: Tensor, labels: Tensor) -> bool:
        fixed_images, fixed_labels = images.clone(), labels.clone()
        self.step.optimizer.zero_grad(set_to_none=True)  # gradients belong to the recording
        try:
            replay, loss = self.recorder.record(lambda: self.step(fixed_images, fixed_labels))
        except RuntimeError as error:
            if isinstance(error, torch.OutOfMemoryError):
                raise
            self.reason = f"the recording failed: {str(error).splitlines()[0]}"
            self.step.optimizer.zero_grad(set_to_none=True)  # what a broken recording left
            log.warning("steps are run one by one, without a CUDA graph: %s", self.reason)
            return False
        self._images, self._labels, self._replay, self._loss = (
            fixed_images,
            fixed_labels,
            replay,
            loss,
        )
        return True


def stepper(step: Step, *, device: torch.device, why_not: str | None = None) -> Stepper:
    """The fastest way to run the step here; `why_not` is a known reason against a recording."""
    if device.type != "cuda":
        return step
    if why_not is not None:
        log.warning("steps are run one by one, without a CUDA graph: %s", why_not)
        return step
    return GraphStep(step=step, recorder=CudaRecorder(device=device, generator=step.generator))
