"""A pass through a network under a setting: forward alone, or a training step."""

import contextlib
import copy
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cmt_search.cost.setting import DTYPES, Setting
from cmt_search.errors import CmtSearchError

Pass = Callable[[], None]  # returns when the device has finished


@contextlib.contextmanager
def conditions(setting: Setting) -> Iterator[Setting]:
    """The setting, its threads decided; the process's threads and random numbers are kept.

    Raises:
        CmtSearchError: this machine lacks the device, the dtype, the memory or the compiler.
    """
    _check(setting)
    before = torch.get_num_threads()
    gpus = [] if setting.device == "cpu" else [setting.device]
    with torch.random.fork_rng(devices=gpus):
        torch.set_num_threads(setting.threads or before)
        try:
            yield replace(setting, threads=torch.get_num_threads())
        except torch.OutOfMemoryError as error:
            raise CmtSearchError(
                f"batch={setting.batch} does not fit into the memory of {setting.device}; "
                "use a smaller batch"
            ) from error
        except RuntimeError as error:
            if not setting.compiled or not _from_compiler(error):
                raise
            raise CmtSearchError(
                f"compile: torch.compile failed ({str(error).strip().splitlines()[0]}); install a "
                "C++ compiler such as g++ (on a GPU Triton too), or measure without compile"
            ) from error
        finally:
            torch.set_num_threads(before)


def inference_pass(module: nn.Module, *, shape: tuple[int, int, int], setting: Setting) -> Pass:
    """A forward pass in eval mode of a copy that is cast to the setting's dtype.

    Shape: `shape` is (channels, height, width) of an image.
    """
    dtype: torch.dtype = getattr(torch, DTYPES[setting.dtype])
    run = _prepared(module, setting=setting, dtype=dtype, training=False)
    images = _images(shape, setting=setting).to(dtype)

    def forward() -> None:
        with torch.inference_mode():
            run(images)
        _finish(setting.device)

    return forward


def training_step(module: nn.Module, *, shape: tuple[int, int, int], setting: Setting) -> Pass:
    """Forward, cross entropy, backward and a first step of AdamW, of a copy in train mode.

    Shape: `shape` is (channels, height, width) of an image.
    """
    run = _prepared(module, setting=setting, dtype=torch.float32, training=True)
    images = _images(shape, setting=setting)
    labels = torch.zeros(setting.batch, dtype=torch.int64, device=setting.device)
    dtype: torch.dtype = getattr(torch, DTYPES[setting.dtype])
    kind = torch.device(setting.device).type

    def step() -> None:
        optimizer = torch.optim.AdamW(run.parameters(), fused=True)
        with torch.autocast(kind, dtype=dtype, enabled=dtype is not torch.float32):
            loss = F.cross_entropy(run(images), labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        _finish(setting.device)

    return step


def _prepared(
    module: nn.Module, *, setting: Setting, dtype: torch.dtype, training: bool
) -> nn.Module:
    """A copy on the device, so that the caller's module stays as it is."""
    copied = copy.deepcopy(module).to(setting.device, dtype).train(training)
    if not setting.compiled:
        return copied
    torch.compiler.reset()  # or torch gives up compiling after a few networks of one class
    return cast("nn.Module", torch.compile(copied))


def _images(shape: tuple[int, int, int], *, setting: Setting) -> Tensor:
    """The same images every time."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(setting.batch, *shape, generator=generator).to(setting.device)


def _finish(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize(device)


def _check(setting: Setting) -> None:
    if setting.device == "cpu":
        if not _computes_in(setting.dtype):
            raise CmtSearchError(
                f"dtype={setting.dtype}: this processor does not compute in it, and imitating it "
                "would be slow; use fp32, or measure on a GPU"
            )
        return
    index = torch.device(setting.device).index or 0
    if index >= (count := torch.cuda.device_count()):
        raise CmtSearchError(
            f"device={setting.device}: torch sees {count} GPUs here; use cpu, or a torch built "
            "for CUDA on a machine that has the GPU"
        )


def _computes_in(dtype: str) -> bool:
    """Whether oneDNN, which runs torch's convolutions on a CPU, takes this type natively."""
    if dtype == "fp32":
        return True
    asked = getattr(torch.ops.mkldnn, f"_is_mkldnn_{dtype}_supported", None)
    return bool(asked and asked())


def _from_compiler(error: RuntimeError) -> bool:
    from torch._dynamo.exc import TorchDynamoException

    return isinstance(error, TorchDynamoException)
