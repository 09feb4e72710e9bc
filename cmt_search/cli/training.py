"""train: one network, trained with a recipe and kept."""

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

    from cmt_search.arch import Arch
    from cmt_search.evaluation import Fidelity, Measurement
    from cmt_search.proxy import Dataset
    from cmt_search.proxy.trainer import Training
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
    steps: Annotated[int | None, typer.Option(min=1, help="At most so many steps.")] = None,
    seconds: Annotated[
        float | None, typer.Option(min=0.001, help="At most so long; cannot be repeated exactly.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of weights, order and augmentation.")] = 0,
    device: Device = None,
    threads: Annotated[
        int, typer.Option(min=1, help="On a CPU; more than one may change the last digits.")
    ] = 1,
    deterministic: Annotated[
        bool, typer.Option("--deterministic", help="On a GPU: the same numbers, and slower.")
    ] = False,
    json: Json = False,
) -> None:
    """Train one network from scratch, measure it after every epoch, and keep its weights.

    The folder holds train.json (plan, measurement, versions, hardware), curve.csv and, at the end,
    model.safetensors: the weights, or their average where the recipe has `ema`. Give the command
    again to go on after an interrupt, from the last whole epoch. Another recipe, network or length
    needs another folder. Input channels and classes are set to those of the images.

    --json prints folder, weights, key, top1, loss, epochs, images, seconds, seed, device and notes.
    """
    from cmt_search.cli.console import is_quiet, print_json, say, say_paths
    from cmt_search.cli.networks import network_of

    section = _section(recipe, epochs=epochs, root=data)
    network = network_of(arch)
    own = section.fidelity(network, section.epochs)
    fidelity = replace(own, steps=steps or own.steps, seconds=seconds or own.seconds)
    notes = section.recipe.notes(epochs=section.epochs)
    for note in () if json else notes:
        say(f"note: {note}")
    asked = _Asked(
        network=network,
        section=section,
        fidelity=fidelity,
        seed=seed,
        device=device,
        threads=threads,
        deterministic=deterministic,
    )
    result = _run(asked, to=to, name=recipe.stem, quiet=json or is_quiet())
    if json:
        print_json({**result, "notes": list(notes)})
        return
    say_paths([result["weights"]])
    say(
        f"top1 {result['top1']:.2%}, loss {result['loss']:.4f} on {result['images']:,} images "
        f"after {result['epochs']} epochs, {result['seconds']:.0f} s; weights: {result['weights']}"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """What the command line asks for."""

    network: "Arch"
    section: "Proxy"
    fidelity: "Fidelity"
    seed: int
    device: str | None
    threads: int
    deterministic: bool

    def plan(self) -> dict[str, Any]:
        """All that decides the numbers; where the images lie does not."""
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
    """The file's values, with those of the command line in their place."""
    from cmt_search.space.load import load_training

    section = load_training(recipe)
    changes: dict[str, Any] = {} if epochs is None else {"epochs": epochs}
    if root is not None:
        changes["dataset"] = replace(section.dataset, root=root)
    return section.model_copy(update=changes)


def _run(asked: _Asked, *, to: Path | None, name: str, quiet: bool) -> dict[str, Any]:
    """Train in the folder, or take what lies complete in it."""
    from cmt_search.proxy import load_dataset
    from cmt_search.proxy.evaluator import resolve_device
    from cmt_search.proxy.run_dir import TrainingDir

    where = resolve_device(asked.device)
    data = load_dataset(asked.section.dataset)
    network = replace(asked.network, in_chans=data.in_chans, num_classes=data.num_classes)
    asked = replace(asked, network=network)
    folder = TrainingDir(
        path=to or Path("runs") / f"train-{network.key[:8]}-{name}-{asked.seed}",
        plan=asked.plan(),
        provenance=_provenance(data, device=where.type, deterministic=asked.deterministic),
    )
    measured = folder.open()
    if measured is None:
        with _threads(asked.threads), _progress(asked.fidelity, quiet=quiet) as show:

            def note(training: "Training") -> None:
                folder.write_curve(training)
                show(training)

            measured = _trained(asked, data=data, device=where, note=note, folder=folder)
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


def _trained(
    asked: _Asked, *, data: "Dataset", device: Any, note: "Callable[..., None]", folder: Any
) -> "Measurement":
    from cmt_search.errors import RunError
    from cmt_search.evaluation import TrainingFailed
    from cmt_search.proxy import train as train_network

    try:
        return train_network(
            asked.network,
            data=data,
            recipe=asked.section.recipe,
            fidelity=asked.fidelity,
            seed=asked.seed,
            device=device,
            folder=folder.path,
            deterministic=asked.deterministic,
            on_epoch=note,
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
    """So many threads of torch, for as long as it lasts."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _progress(fidelity: "Fidelity", *, quiet: bool) -> "Iterator[Callable[[Training], None]]":
    """A line per epoch on standard error, above a bar where there is a terminal."""
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
