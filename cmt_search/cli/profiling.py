"""profile: what a network costs."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from cmt_search.cli.options import Json
from cmt_search.presets import PRESETS

if TYPE_CHECKING:
    from cmt_search.arch import Arch
    from cmt_search.cost import Cost
    from cmt_search.cost.latency import Latency


def profile(
    arch: Annotated[
        str, typer.Argument(metavar="ARCH", help="Preset, exported file or folder, or YAML.")
    ],
    latency: Annotated[bool, typer.Option("--latency", help="Time a forward pass here.")] = False,
    batch: Annotated[int, typer.Option(min=1, help="Images in a timed pass.")] = 1,
    device: Annotated[str, typer.Option(help="Where to time it: cpu or cuda.")] = "cpu",
    json: Json = False,
) -> None:
    """Params, MACs and activations by stage; with --latency, a measured forward pass."""
    from cmt_search.cli.console import print_json, say, show_table
    from cmt_search.cost import cost
    from cmt_search.export import load

    network = PRESETS[arch] if arch in PRESETS else load(arch)
    measured = cost(network)
    timing = _latency(network, batch=batch, device=device) if latency else None
    if json:
        data = {"key": network.key, **measured.to_dict(), **network.to_dict()}
        print_json(data | ({"latency": asdict(timing)} if timing else {}))
        return
    show_table(_rows(measured), title=f"{arch} at {network.resolution} px, key {network.key}")
    say("MACs are multiply-accumulates; the CMT paper calls them FLOPs.")
    if timing:
        say(
            f"forward pass of {timing.batch}: median {timing.median_ms:.2f} ms "
            f"({timing.low_ms:.2f} to {timing.high_ms:.2f}, {timing.repeats} passes) on "
            f"{timing.device}, {timing.threads} threads, fp32, torch {timing.torch}"
        )


def _rows(measured: "Cost") -> list[dict[str, str]]:
    parts = [(row.name, row.params, row.macs, row.activations) for row in measured.rows]
    parts.append(("all", measured.params, measured.macs, measured.activations))
    return [
        {
            "part": name,
            "params": f"{params:,}",
            "MACs": f"{macs:,}",
            "of MACs": f"{macs / measured.macs:.1%}",
            "activations": f"{activations:,}",
        }
        for name, params, macs, activations in parts
    ]


def _latency(network: "Arch", *, batch: int, device: str) -> "Latency":
    from cmt_search.builder import build
    from cmt_search.cost.latency import measure_latency

    side = network.resolution
    return measure_latency(
        build(network), shape=(batch, network.in_chans, side, side), device=device
    )
