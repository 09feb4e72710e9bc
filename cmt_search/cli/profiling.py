"""profile: the cost of a network."""

from typing import TYPE_CHECKING, Annotated

import typer

from cmt_search.cli.completing import presets
from cmt_search.cli.options import Json

if TYPE_CHECKING:
    from cmt_search.arch import Arch
    from cmt_search.cost import Cost
    from cmt_search.cost.benchmark import Latency, Memory
    from cmt_search.cost.config import BenchmarkConfig


def profile(
    arch: Annotated[
        str,
        typer.Argument(
            metavar="ARCH", help="Preset, exported file or folder, or YAML.", autocompletion=presets
        ),
    ],
    latency: Annotated[
        bool, typer.Option("--latency", help="Measure time and memory on this machine.")
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
    threshold: Annotated[
        float, typer.Option(help="Time passes until IQR / median is below this.")
    ] = 0.02,
    seconds: Annotated[float, typer.Option(help="Time limit.")] = 10.0,
    json: Json = False,
) -> None:
    """Print params, MACs and activations by stage; with --latency, measure time and memory.

    The network is measured as it is deployed: batch norms folded into convolutions, channels-last.
    After a warm-up, passes are timed until IQR / median is below --threshold, or until --seconds
    are over; the output says which. Memory is the peak of a forward pass, and of a training step
    (AdamW; bf16 and fp16 by autocast), above the weights.

    --json prints key, params, macs, activations, rows (one per part) and the fields of the network.
    With --latency also `latency`: median_ms, iqr_ms (interquartile range), repeats, converged
    (false: the time limit was reached); and `memory`: weights_mib, inference_mib, training_mib
    (null where it cannot be measured, see notes). Both include config and machine: hardware,
    torch, cmt_search.
    """
    from cmt_search.cli.console import print_json, say, show_table
    from cmt_search.cli.networks import network_of
    from cmt_search.cost import cost
    from cmt_search.cost.config import BenchmarkConfig

    config = BenchmarkConfig(
        device=device,
        threads=threads,
        batch=batch,
        dtype=dtype,  # type: ignore[arg-type]  # checked by the config
        compiled=compiled,
        threshold=threshold,
        seconds=seconds,
    )
    network = network_of(arch)
    counted = cost(network)
    measured = _measure(network, config=config) if latency else None
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


def _measure(network: "Arch", *, config: "BenchmarkConfig") -> tuple["Latency", "Memory"]:
    from cmt_search.builder import CMT
    from cmt_search.cost.benchmark import measure_latency, measure_memory

    module = CMT(network)
    shape = (network.in_chans, network.resolution, network.resolution)
    return (
        measure_latency(module, shape=shape, config=config),
        measure_memory(module, shape=shape, config=config),
    )


def _lines(latency: "Latency", memory: "Memory") -> list[str]:
    """Describe the measurements."""
    config, machine = latency.config, latency.machine
    end = "" if latency.converged else "; the time limit was reached, increase --seconds"
    mode = "compiled" if config.compiled else "eager"
    folded = ", batch norms folded" if config.folded else ""
    layout = ", channels-last" if config.channels_last else ""
    where = f"threads: {config.threads}" if config.device == "cpu" else config.device
    return [
        f"Forward pass, batch {config.batch}: median {latency.median_ms:.2f} ms, IQR "
        f"{latency.iqr_ms:.2f} ms over {latency.repeats} passes{end}.",
        f"Memory: weights {memory.weights_mib:.1f} MiB; peak of a forward pass "
        f"{_mib(memory.inference_mib)}, of a training step {_mib(memory.training_mib)}.",
        *(f"Unknown: {note}." for note in memory.notes),
        f"On {machine.hardware}, {where}, {config.dtype}, {mode}{folded}{layout}, "
        f"torch {machine.torch}, cmt_search {machine.cmt_search}.",
    ]


def _mib(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.1f} MiB"
