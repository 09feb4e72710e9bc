"""The train command: train one network with a recipe."""

import sys
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cmt_search.cli.completing import presets
from cmt_search.cli.options import Device, Json, folder_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import torch

    from cmt_search.arch import Arch
    from cmt_search.evaluation import Fidelity, Measurement
    from cmt_search.proxy import Dataset
    from cmt_search.proxy.trainer import Training
    from cmt_search.proxy.training_dir import TrainingDir
    from cmt_search.space.schema import Proxy

Recipe = Annotated[
    Path, typer.Option(metavar="FILE", help="Recipe file; a space file gives its proxy section.")
]
To = Annotated[
    Path | None,
    typer.Option(
        parser=folder_for("--to"),
        metavar="DIR",
        help="Folder; default: runs/train-KEY-RECIPE-SEED.",
    ),
]
Data = Annotated[
    str | None, typer.Option(metavar="ROOT", help="Folder of the images, instead of the file's.")
]


def train(
    arch: Annotated[
        str,
        typer.Argument(
            metavar="ARCH", help="Preset, exported file or folder, or YAML.", autocompletion=presets
        ),
    ],
    recipe: Recipe,
    to: To = None,
    data: Data = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Instead of the file's.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Maximum number of steps.")] = None,
    seconds: Annotated[
        float | None,
        typer.Option(min=0.001, help="Wall-clock limit; the result is not repeatable."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of weights, order and augmentation.")] = 0,
    device: Device = None,
    threads: Annotated[
        int, typer.Option(min=1, help="CPU threads; more than one may change the last digits.")
    ] = 1,
    deterministic: Annotated[
        bool, typer.Option("--deterministic", help="Repeatable numbers on a GPU; slower.")
    ] = False,
    json: Json = False,
) -> None:
    """Train one network from scratch, validate it after every epoch, and write its weights.

    The folder holds train.json (plan, measurement, versions, hardware), curve.csv and, at the end,
    model.safetensors: the weights, or their average where the recipe has `ema`. Give the command
    again to resume after an interrupt, from the last complete epoch. Another recipe, network or
    length needs another folder. Input channels and classes are set to those of the images.

    --json prints folder, weights, key, top1, loss, epochs, images, seconds, seed, device and notes.
    """
    from cmt_search.cli.console import is_quiet, print_json, say, say_paths
    from cmt_search.cli.networks import network_of

    section = _section(recipe, epochs=epochs, root=data)
    network = network_of(arch)
    planned = section.fidelity(network, section.epochs)
    fidelity = replace(planned, steps=steps or planned.steps, seconds=seconds or planned.seconds)
    notes = section.recipe.notes(epochs=section.epochs)
    for note in () if json else notes:
        say(f"note: {note}")
    request = _Request(
        network=network,
        section=section,
        fidelity=fidelity,
        seed=seed,
        device=device,
        threads=threads,
        deterministic=deterministic,
    )
    result = _run(request, to=to, name=recipe.stem, quiet=json or is_quiet())
    if json:
        print_json({**result, "notes": list(notes)})
        return
    say_paths([result["weights"]])
    say(
        f"top1 {result['top1']:.2%}, loss {result['loss']:.4f} on {result['images']:,} images "
        f"after {result['epochs']} epochs, {result['seconds']:.0f} s; weights: {result['weights']}"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Request:
    """The training of a command line."""

    network: "Arch"
    section: "Proxy"
    fidelity: "Fidelity"
    seed: int
    device: str | None
    threads: int
    deterministic: bool

    def plan(self) -> dict[str, Any]:
        """Return the values that determine the numbers; the folder of the images does not."""
        dataset = asdict(self.section.dataset)
        dataset.pop("root", None)
        return {
            "arch": self.network.to_dict(),
            "dataset": dataset,
            "fidelity": self.fidelity.to_dict(),
            "recipe": asdict(self.section.recipe),
            "seed": self.seed,
        }


def _section(recipe: Path, *, epochs: int | None, root: str | None) -> "Proxy":
    """Read the file, and replace its values by those of the command line."""
    from cmt_search.space.load import load_training

    section = load_training(recipe)
    changes: dict[str, Any] = {} if epochs is None else {"epochs": epochs}
    if root is not None:
        changes["dataset"] = replace(section.dataset, root=root)
    return section.model_copy(update=changes)


def _run(request: _Request, *, to: Path | None, name: str, quiet: bool) -> dict[str, Any]:
    """Train in the folder, or return the complete training there."""
    from cmt_search.proxy import load_dataset
    from cmt_search.proxy.evaluator import resolve_device
    from cmt_search.proxy.training_dir import TrainingDir

    device = resolve_device(request.device)
    data = load_dataset(request.section.dataset)
    network = replace(request.network, in_chans=data.in_chans, num_classes=data.num_classes)
    request = replace(request, network=network)
    folder = TrainingDir(
        path=to or Path("runs") / f"train-{network.key[:8]}-{name}-{request.seed}",
        plan=request.plan(),
        provenance=_provenance(data, device=device.type, deterministic=request.deterministic),
    )
    measured = folder.open()
    if measured is None:
        with _threads(request.threads), _progress(request.fidelity, quiet=quiet) as show:

            def on_epoch(training: "Training") -> None:
                folder.write_curve(training)
                show(training)

            measured = _train(request, data=data, device=device, on_epoch=on_epoch, folder=folder)
        folder.complete(measured)
    return {
        "folder": str(folder.path),
        "weights": str(folder.weights),
        "key": network.key,
        "top1": measured.top1,
        "loss": measured.loss,
        "epochs": len(measured.curve),
        "images": measured.images,
        "seconds": measured.seconds,
        "seed": measured.seed,
        "device": measured.device,
    }


def _train(
    request: _Request,
    *,
    data: "Dataset",
    device: "torch.device",
    on_epoch: "Callable[[Training], None]",
    folder: "TrainingDir",
) -> "Measurement":
    from cmt_search.errors import RunError
    from cmt_search.evaluation import TrainingFailed
    from cmt_search.proxy import train as train_network

    try:
        return train_network(
            request.network,
            data=data,
            recipe=request.section.recipe,
            fidelity=request.fidelity,
            seed=request.seed,
            device=device,
            folder=folder.path,
            deterministic=request.deterministic,
            on_epoch=on_epoch,
            on_end=folder.write_weights,
        )
    except TrainingFailed as error:
        raise RunError(f"{folder.path}: the training failed: {error}") from error


def _provenance(data: "Dataset", *, device: str, deterministic: bool) -> Mapping[str, Any]:
    from cmt_search.search.run_dir import hardware, versions

    return {
        "normalisation": {  # of pixels in 0..1
            "mean": (data.mean / 255).tolist(),
            "std": (data.std / 255).tolist(),
        },
        "classes": list(data.classes),
        "device": device,
        "deterministic": deterministic,
        "versions": versions(),
        "hardware": hardware(),
        "command": sys.argv,
    }


@contextmanager
def _threads(count: int) -> "Iterator[None]":
    """Set the number of torch's CPU threads within a context."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _progress(fidelity: "Fidelity", *, quiet: bool) -> "Iterator[Callable[[Training], None]]":
    """Print a line per epoch to standard error, with a progress bar on a terminal."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True, quiet=quiet, highlight=False)
    with Progress(console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("epochs", total=fidelity.epochs)

        def show(training: "Training") -> None:
            last = training.curve[-1]
            bar.update(task, completed=last.epoch)
            console.print(
                f"epoch {last.epoch}/{fidelity.epochs}: train loss {last.train_loss:.4f}, "
                f"loss {last.loss:.4f}, top1 {last.top1:.2%}, {training.seconds:.0f} s",
                soft_wrap=True,
            )

        yield show
