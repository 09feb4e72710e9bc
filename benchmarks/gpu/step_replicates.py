"""Replicates of one network, trained by one step with stacked weights, or one after another.

A rule search spends most of its trainings on seeds of the same network. `stacked` trains them by
`torch.func.vmap` over stacked weights, `separate` by a step each. On a GPU both are CUDA graphs,
and both run without autocast. Both see the same images and end with the same losses. A step is
forward, cross entropy, backward and AdamW.
"""

import copy
from collections.abc import Callable, Iterator
from dataclasses import replace
from unittest import mock

import torch
from harness import interleaved, step_clock
from plan import Context, Row
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap
from torch.nn import functional as F

from cmt_search.builder import CMT
from cmt_search.builder import network as network_module
from cmt_search.presets import PRESETS

NETWORKS = {"pico-14": ("cmt_pico", 14), "pico-28": ("cmt_pico", 28), "nano-32": ("cmt_nano", 32)}
COUNTS = {"cpu": (2, 4), "cuda": (2, 4, 8, 16)}
Pass = Callable[[], Tensor]  # a step; the losses, (replicates,)


def measure(context: Context) -> Iterator[Row]:
    """Yield a row per network and number of replicates."""
    names = ["pico-14"] if context.quick else list(NETWORKS)
    counts = (2,) if context.quick else COUNTS[context.device]
    batch = 8 if context.quick else (256 if context.on_gpu else 64)
    cases = {f"{name}, {count} replicates": (name, count) for name in names for count in counts}
    for case in context.pending(cases):
        name, count = cases[case]
        try:
            yield {"case": case, **compare(context, name=name, count=count, batch=batch)}
        except RuntimeError as error:  # such as an operator that a graph cannot record
            yield {"case": case, "passed": False, "note": str(error).split("\n")[0]}


def compare(context: Context, *, name: str, count: int, batch: int) -> Row:
    """Time both ways, interleaved, and compare their losses after the first steps."""
    preset, side = NETWORKS[name]
    arch = replace(PRESETS[preset], resolution=side, num_classes=10)
    torch.manual_seed(0)
    networks = [CMT(arch).to(context.device).train() for _ in range(count)]
    images = torch.randn(count, batch, arch.in_chans, side, side, device=context.device)
    labels = torch.randint(10, (count, batch), device=context.device)
    runs = {
        "separate": separate(copy.deepcopy(networks), images, labels),
        "stacked": stacked(networks, images, labels),
    }
    if context.on_gpu:
        runs = {key: captured(run) for key, run in runs.items()}
    losses = {key: [run() for _ in range(3)][-1].clone() for key, run in runs.items()}
    timings = interleaved(
        runs,
        reference="separate",
        rounds=3 if context.quick else 15,
        seconds=1.0 if context.quick else 20.0,
        device=context.device,
        clock=step_clock(context.device),
    )
    return {
        "replicates": count,
        "batch": batch,
        "images_per_s_separate": round(count * batch / timings["separate"].seconds, 1),
        "images_per_s_stacked": round(count * batch / timings["stacked"].seconds, 1),
        "ratio_stacked": round(timings["stacked"].ratio, 3),
        "ratio_q1": round(timings["stacked"].ratio_q1, 3),
        "ratio_q3": round(timings["stacked"].ratio_q3, 3),
        "loss_difference": float((losses["stacked"] - losses["separate"]).abs().max()),
    }


def separate(networks: list[nn.Module], images: Tensor, labels: Tensor) -> Pass:
    """Return a step that trains one network after another."""
    steps = [
        training_step(list(n.parameters()), lambda n=n, x=x, y=y: F.cross_entropy(n(x), y))
        for n, x, y in zip(networks, images, labels, strict=True)
    ]
    return lambda: torch.stack([step() for step in steps])


def stacked(networks: list[nn.Module], images: Tensor, labels: Tensor) -> Pass:
    """Return a step that trains all networks at a time."""
    parameters, buffers = stack_module_state(networks)
    skeleton = copy.deepcopy(networks[0]).to("meta")

    def loss(p: dict[str, Tensor], b: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(functional_call(skeleton, (p, b), (x,)), y)

    def losses() -> Tensor:
        # vmap does not know channels_last
        with mock.patch.object(network_module, "as_input", lambda x, _size: x):
            return vmap(loss, randomness="different")(parameters, buffers, images, labels)

    return training_step(list(parameters.values()), losses)


def training_step(parameters: list[Tensor], losses: Pass) -> Pass:
    """Return a step of AdamW on the sum of the losses."""
    on_gpu = parameters[0].is_cuda
    optimizer = torch.optim.AdamW(parameters, lr=1e-4, fused=True, capturable=on_gpu)

    def step() -> Tensor:
        optimizer.zero_grad(set_to_none=True)
        value = losses()
        value.sum().backward()
        optimizer.step()
        return value.detach()

    return step


def captured(run: Pass) -> Pass:
    """Record a step as a CUDA graph, after three on a side stream."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            run()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        value = run()

    def replay() -> Tensor:
        graph.replay()
        return value

    return replay
