"""One training step: augmentation, forward, backward, optimiser; on a GPU, as a CUDA graph."""

import logging
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cmt_search.proxy.augment import Augmenter
from cmt_search.recipe import Recipe

_WARM_UP = 3  # steps before a recording: libraries choose kernels and allocate in the first ones
log = logging.getLogger(__name__)

Normalize = Callable[[Tensor], Tensor]  # see `Dataset.normalize`
StepFunction = Callable[[Tensor, Tensor], Tensor]
"""`(images, labels)` to the loss of the step, which stays on the device."""


@dataclass(slots=True, kw_only=True, eq=False)
class Step:
    """A whole step on the device.

    It reads no value back to the host, and its shapes are those of its input, so a CUDA graph can
    record it as it is.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    augment: Augmenter
    normalize: Normalize
    generator: torch.Generator  # of the augmentation
    recipe: Recipe

    def __call__(self, images: Tensor, labels: Tensor) -> Tensor:
        """Train on a batch and return its mean loss.

        Shape: (B, C, S, S) uint8 and (B,) int64 to ().
        """
        self.optimizer.zero_grad(set_to_none=True)
        inputs, targets = self.augment(images, labels, generator=self.generator)
        loss = self._accumulate_gradients(inputs, targets)
        if self.recipe.clip_grad is not None:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.clip_grad)
        self.optimizer.step()
        return loss

    def _accumulate_gradients(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """Run passes of one micro-batch each; BatchNorm sees that many images."""
        size = self.recipe.micro_batch or len(inputs)
        losses = []
        for images, target in zip(inputs.split(size), targets.split(size), strict=True):
            loss = F.cross_entropy(
                forward(self.model, self.normalize(images)),
                target,
                label_smoothing=self.recipe.label_smoothing,
            ) * (len(images) / len(inputs))
            torch.autograd.backward(loss)
            losses.append(loss.detach())
        return losses[0] if len(losses) == 1 else torch.stack(losses).sum()


def forward(model: nn.Module, x: Tensor) -> Tensor:
    """Compute logits in float32; on a GPU the network itself runs in bfloat16."""
    with torch.autocast(x.device.type, dtype=torch.bfloat16, enabled=x.is_cuda):
        logits: Tensor = model(x)
    return logits.float()


@dataclass(slots=True, kw_only=True, eq=False)
class GraphStep:
    """A step that runs eagerly at first, then is recorded as a CUDA graph and replayed.

    The warm-up steps are steps of the training, so the numbers do not depend on when the recording
    happens. If it fails, steps stay eager, and `reason` says why.
    """

    step: Step
    device: torch.device
    warm_up: int = _WARM_UP  # steps still to run before the recording
    reason: str | None = None  # why the step is not replayed
    run: StepFunction | None = None  # after the warm-up
    side: torch.cuda.Stream | None = None  # of all warm-up steps: each stream has its own memory

    def __call__(self, images: Tensor, labels: Tensor) -> Tensor:
        """Train on a batch; every batch has the shape of the first."""
        if self.warm_up > 0:
            self.warm_up -= 1
            return self.run_aside(images, labels)
        if self.run is None:
            self.run = self._record(images.clone(), labels.clone())
        return self.run(images, labels)

    def run_aside(self, images: Tensor, labels: Tensor) -> Tensor:
        """Run a step on a side stream, as PyTorch requires before a recording."""
        current = torch.cuda.current_stream(self.device)
        self.side = self.side or torch.cuda.Stream(self.device)
        self.side.wait_stream(current)
        with torch.cuda.stream(self.side):
            loss = self.step(images, labels)
        current.wait_stream(self.side)
        return loss

    def capture(self, images: Tensor, labels: Tensor) -> tuple[Callable[[], None], Tensor]:
        """Record a step without running it; return its replay, and the tensor of its loss.

        The generators of the process and of the augmentation advance on replay. Gradients and
        activations live in the graph's memory.
        """
        graph = torch.cuda.CUDAGraph()
        graph.register_generator_state(self.step.generator)
        # The thread that reads images may allocate pinned memory meanwhile.
        mode = "thread_local"
        with torch.cuda.device(self.device), torch.cuda.graph(graph, capture_error_mode=mode):
            loss = self.step(images, labels)
        return graph.replay, loss

    def _record(self, static_images: Tensor, static_labels: Tensor) -> StepFunction:
        self.step.optimizer.zero_grad(set_to_none=True)  # gradients belong to the recording
        try:
            replay, loss = self.capture(static_images, static_labels)
        except RuntimeError as error:
            if isinstance(error, torch.OutOfMemoryError):
                raise
            self.reason = f"the recording failed: {str(error).splitlines()[0]}"
            self.step.optimizer.zero_grad(set_to_none=True)  # left by the failed recording
            log.warning("steps run eagerly, without a CUDA graph: %s", self.reason)
            return self.step

        def run(images: Tensor, labels: Tensor) -> Tensor:
            static_images.copy_(images, non_blocking=True)
            static_labels.copy_(labels, non_blocking=True)
            replay()
            return loss

        return run


def fastest_step(step: Step, *, device: torch.device, obstacle: str | None = None) -> StepFunction:
    """Return the step, recorded on a GPU unless there is a known obstacle."""
    if device.type != "cuda":
        return step
    if obstacle is not None:
        log.warning("steps run eagerly, without a CUDA graph: %s", obstacle)
        return step
    return GraphStep(step=step, device=device)
