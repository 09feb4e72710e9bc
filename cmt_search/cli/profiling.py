"""profile: what a network costs."""

from typing import TYPE_CHECKING, Annotated

import typer

from cmt_search.cli.completing import presets
from cmt_search.cli.options import Json

if TYPE_CHECKING:
    from cmt_search.arch import Arch
    from cmt_search.cost import Cost
    from cmt_search.cost.benchmark import Latency, Memory
    from cmt_search.cost.setting import BenchmarkConfig


def profile(
    arch: Annotated[
        str,
        typer.Argument(
            metavar="ARCH", help="Preset, exported file or folder, or YAML.", autocompletion=presets
        ),
    ],
    latency: Annotated[
        bool, typer.Option("--latency", help="Measure time and memory here; the rest says how.")
    ] = False,
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:1.")] = "cpu",
    threads: Annotated[
        int | None, typer.Option(help="Threads on the CPU; default: torch's own choice.")
    ] = None,
    batch: Annotated[int, typer.Option(help="Images in a pass.")] = 1,
    dtype: Annotated[
        str, typer.Option(help="fp32, bf16 or fp16: weights and images are cast to it.")
    ] = "fp32",
    compiled: Annotated[
        bool, typer.Option("--compile/--no-compile", help="Through torch.compile, or eager.")
    ] = False,
    seconds: Annotated[
        float, typer.Option(help="Time passes for so long at most; fewer when the median settles.")
    ] = 10.0,
    json: Json = False,
) -> None:
    """Params, MACs and activations by stage; with --latency, measured time and memory.

    After a warm-up, passes are timed until the median is known to 1%, or until --seconds are over;
    the output says which. Memory is what a forward pass, and a training step (AdamW; bf16 and fp16
    by autocast), add at most to what the weights hold.

    --json prints key, params, macs, activations, rows (one per part) and the fields of the network.
    With --latency also `latency`: median_ms, low_ms and high_ms (a tenth of the passes was faster,
    a tenth slower), error (of the median, relative), repeats, settled (false: time was up); and
    `memory`: weights_mib, inference_mib, training_mib (null where it cannot be measured, see
    notes). Both hold the setting and the machine: hardware, torch, cmt_search.
    """
    from cmt_search.cli.console import print_json, say, show_table
    from cmt_search.cli.networks import network_of
    from cmt_search.cost import cost
    from cmt_search.cost.setting import BenchmarkConfig

    setting = BenchmarkConfig(
        device=device,
        threads=threads,
        batch=batch,
        dtype=dtype,
        compiled=compiled,
        seconds=seconds,
        error=0.01,
    )
    network = network_of(arch)
    counted = cost(network)
    measured = _measured(network, setting=setting) if latency else None
    if json:
        data = {"key": network.key, **counted.to_dict(), **network.to_dict()}
        if measured:
            data |= {"latency": measured[0].to_dict(), "memory": measured[1].to_dict()}
        print_json(data)
        return
    title = f"{arch} at {network.resolution} px, key {network.key}"
    show_table(_rows(counted), title=title, result=True)
    say("MACs are multiply-accumulates; the CMT paper calls them FLOPs.")
    for line in _lines(*measured) if measured else ():
        say(line, result=True)


def _rows(counted: "Cost") -> list[dict[str, str]]:
    parts = [(row.name, row.params, row.macs, row.activations) for row in counted.rows]
    parts.append(("all", counted.params, counted.macs, counted.activations))
    return [
        {
            "part": name,
            "params": f"{params:,}",
            "MACs": f"{macs:,}",
            "of MACs": f"{macs / counted.macs:.1%}",
            "activations": f"{activations:,}",
        }
        for name, params, macs, activations in parts
    ]


def _measured(network: "Arch", *, setting: "BenchmarkConfig") -> tuple["Latency", "Memory"]:
    from cmt_search.builder import build
    from cmt_search.cost.benchmark import measure_latency, measure_memory

    module = build(network)
    shape = (network.in_chans, network.resolution, network.resolution)
    return (
        measure_latency(module, shape=shape, setting=setting),
        measure_memory(module, shape=shape, setting=setting),
    )


def _lines(latency: "Latency", memory: "Memory") -> list[str]:
    """What was measured, for people."""
    setting, machine = latency.setting, latency.machine
    end = "" if latency.settled else "; the time limit ended it, give more --seconds"
    mode = "compiled" if setting.compiled else "eager"
    where = f"threads: {setting.threads}" if setting.device == "cpu" else setting.device
    return [
        f"Forward pass of {setting.batch}: median {latency.median_ms:.2f} ms (known to "
        f"{latency.error:.1%}{end}), 80% of {latency.repeats} passes within "
        f"{latency.low_ms:.2f} to {latency.high_ms:.2f}.",
        f"Memory: weights {memory.weights_mib:.1f} MiB; a forward pass adds "
        f"{_mib(memory.inference_mib)}, a training step {_mib(memory.training_mib)}.",
        *(f"Unknown: {note}." for note in memory.notes),
        f"On {machine.hardware}, {where}, {setting.dtype}, {mode}, torch {machine.torch}, "
        f"cmt_search {machine.cmt_search}.",
    ]


def _mib(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.1f} MiB"
