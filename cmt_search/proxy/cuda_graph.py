"""Training steps recorded as a CUDA graph and replayed."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from cmt_search.proxy.step import Step

_WARM_UP = 3  # steps before a recording: libraries choose kernels and allocate in the first ones
log = logging.getLogger(__name__)

StepFunction = Callable[[Tensor, Tensor], Tensor]
"""`(images, labels)` to the loss of the step, which stays on the device."""


class Recorder(Protocol):
    """Records steps; a CUDA graph, or a substitute on a CPU."""

    def warm_up(self, run: Callable[[], Tensor]) -> Tensor:
        """Run a step under the conditions of a recording."""
        ...

    def record(self, run: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
        """Record a step without running it; return its replay, and the tensor of its loss."""
        ...


@dataclass(slots=True, kw_only=True)
class CudaRecorder:
    """CUDA graphs; the generators of the process and of the augmentation advance on replay."""

    device: torch.device
    generator: torch.Generator

    def warm_up(self, run: Callable[[], Tensor]) -> Tensor:
        """Run on a side stream, as PyTorch requires."""
        side, current = torch.cuda.Stream(self.device), torch.cuda.current_stream(self.device)
        side.wait_stream(current)
        with torch.cuda.stream(side):
            loss = run()
        current.wait_stream(side)
        return loss

    def record(self, run: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
        """Capture a graph; gradients and activations live in its memory."""
        graph = torch.cuda.CUDAGraph()
        graph.register_generator_state(self.generator)
        # The thread that reads images may allocate pinned memory meanwhile.
        mode = "thread_local"
        with torch.cuda.device(self.device), torch.cuda.graph(graph, capture_error_mode=mode):
            loss = run()
        return graph.replay, loss


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Recording:
    images: Tensor  # static inputs of the graph
    labels: Tensor
    replay: Callable[[], None]
    loss: Tensor


@dataclass(slots=True, kw_only=True, eq=False)
class GraphStep:
    """A step that runs eagerly at first, then is recorded and replayed.

    The warm-up steps are steps of the training, so the numbers do not depend on when the recording
    happens. If it fails, steps stay eager, and `reason` says why.
    """

    step: Step
    recorder: Recorder
    warm_up: int = _WARM_UP
    reason: str | None = None  # why the step is not replayed
    recording: _Recording | None = None
    _steps: int = 0

    def __call__(self, images: Tensor, labels: Tensor) -> Tensor:
        """Train on a batch; every batch has the shape of the first."""
        if self.reason is None and self._steps < self.warm_up:
            self._steps += 1
            return self.recorder.warm_up(lambda: self.step(images, labels))
        if self.reason is None and self.recording is None:
            self._record(images, labels)
        if self.recording is None:
            return self.step(images, labels)
        self.recording.images.copy_(images, non_blocking=True)
        self.recording.labels.copy_(labels, non_blocking=True)
        self.recording.replay()
        return self.recording.loss

    def _record(self, images: Tensor, labels: Tensor) -> None:
        images, labels = images.clone(), labels.clone()
        self.step.optimizer.zero_grad(set_to_none=True)  # gradients belong to the recording
        try:
            replay, loss = self.recorder.record(lambda: self.step(images, labels))
        except RuntimeError as error:
            if isinstance(error, torch.OutOfMemoryError):
                raise
            self.reason = f"the recording failed: {str(error).splitlines()[0]}"
            self.step.optimizer.zero_grad(set_to_none=True)  # left by the failed recording
            log.warning("steps run eagerly, without a CUDA graph: %s", self.reason)
            return
        self.recording = _Recording(images=images, labels=labels, replay=replay, loss=loss)


def fastest_step(step: Step, *, device: torch.device, obstacle: str | None = None) -> StepFunction:
    """Return the step, recorded on a GPU unless there is a known obstacle."""
    if device.type != "cuda":
        return step
    if obstacle is not None:
        log.warning("steps run eagerly, without a CUDA graph: %s", obstacle)
        return step
    return GraphStep(step=step, recorder=CudaRecorder(device=device, generator=step.generator))
