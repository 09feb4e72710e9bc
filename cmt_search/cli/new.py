"""new: a space file to start from, with comments, from a few answers."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from cmt_search.errors import SpaceError

_SOURCES = ("fashion-mnist-10k", "fashion-mnist", "cifar10", "folder")
_SIDES = {"fashion-mnist-10k": 28, "fashion-mnist": 28, "cifar10": 32}
_KINDS = ("rule", "pareto")


def new(
    file: Annotated[Path, typer.Argument(metavar="FILE.yaml", help="Space file to write.")],
    kind: Annotated[
        str | None, typer.Option(help="rule: scaling rules; pareto: accuracy against cost.")
    ] = None,
    dataset: Annotated[
        str | None, typer.Option(help="fashion-mnist-10k, fashion-mnist, cifar10 or folder.")
    ] = None,
    root: Annotated[str | None, typer.Option(help="Where the images lie.")] = None,
    size: Annotated[
        int | None, typer.Option(min=4, help="Pixels per side that images of a folder are kept at.")
    ] = None,
    classes: Annotated[
        int | None, typer.Option(min=2, help="Classes of a folder; default: those found in it.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Length of a training.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file.")] = False,
) -> None:
    """Write a commented space file from a few questions, or from the options that answer them."""
    from cmt_search.cli.console import say
    from cmt_search.space import parse_space

    if file.exists() and not force:
        raise SpaceError(f"{file} exists; give another name, or --force to overwrite it")
    kind = _answer(kind, "What to search, rule or pareto?", default="rule", option="--kind")
    _one_of(kind, _KINDS, option="--kind")
    dataset = _answer(dataset, "Which images?", default=_SOURCES[0], option="--dataset")
    _one_of(dataset, _SOURCES, option="--dataset")
    if dataset != _SOURCES[0]:
        root = _answer(root, "Where do they lie?", default=f"data/{dataset}", option="--root")
    if dataset == "folder":
        size = int(_answer(size, "Pixels per side?", default=64, option="--size"))
    usual = 1 if dataset == _SOURCES[0] else 30
    epochs = int(_answer(epochs, "Epochs of a training?", default=usual, option="--epochs"))
    text = _text(
        file.name,
        kind=kind,
        dataset=dataset,
        root=root,
        side=size or _SIDES[dataset],
        classes=classes or (_counted(root) if dataset == "folder" else 10),
        epochs=epochs,
    )
    parse_space(text, source=str(file))  # whatever was answered, what is written is valid
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    say(f"{file}: written; look at it, then: cmt-search validate {file}")


def _answer(given: Any, question: str, *, default: Any, option: str) -> Any:
    """What was given, or what a person at a terminal answers, or the default."""
    if given is not None:
        return given
    if not sys.stdin.isatty():
        return default
    return typer.prompt(f"{question} ({option})", default=default, err=True)


def _one_of(value: str, known: tuple[str, ...], *, option: str) -> None:
    if value not in known:
        raise SpaceError(f"{option} {value!r} is unknown; use {', '.join(known)}")


def _counted(root: str | None) -> int:
    """Classes of a folder of images, one folder each."""
    train = Path(root or "") / "train"
    found = sum(1 for path in train.iterdir() if path.is_dir()) if train.is_dir() else 0
    if found < 2:
        raise SpaceError(
            f"{train} holds {found} folders of classes; point --root at the images, or say how "
            "many there will be with --classes"
        )
    return found


def _text(
    name: str, *, kind: str, dataset: str, root: str | None, side: int, classes: int, epochs: int
) -> str:
    base = "cmt_pico" if side <= 28 else "cmt_nano" if side <= 48 else "cmt_micro"
    start = side // 4 * 2  # half of what the images have, even: so resolution can add information
    grey = dataset.startswith("fashion")
    network = f"preset: {base}, resolution: {start}"
    network += ", in_chans: 1" * grey + f", num_classes: {classes}" * (classes != 10)
    images = f"name: {dataset}" + f", root: {json.dumps(root)}" * (root is not None)
    images += f", size: {side}" * (dataset == "folder")
    head = f"""\
# What:       {_WHAT[kind]}
# Images:     {dataset}, {side} px
# Command:    cmt-search validate {name}    what it would train, and what it could find out
#             cmt-search calibrate {name}   whether so short a training ranks networks
#             cmt-search run {name}

kind: {kind}
# The network that grows. Half of the images' side leaves resolution something to add.
base: {{{network}}}
"""
    proxy = f"""\
proxy:
  dataset: {{{images}}}
  epochs: {epochs}  # of each training
  recipe: {{batch: {64 if epochs < 5 else 256}, lr: 0.004}}
"""
    return head + (_RULE if kind == "rule" else _PARETO).format(side=side, start=start) + proxy


_WHAT = {
    "rule": "which rule should depth, width and resolution grow by?",
    "pareto": "which networks are best at their cost?",
}
_RULE = """\
knobs:
  resolution: {{step: 2, max: {side}}}  # beyond the images' own side, pixels are interpolated
# Rules are compared at these multiples of the base's MACs; below 3 they hardly differ.
budgets: {{times_base: [3, 6, 12]}}
tolerance: 0.02  # of the MACs; small networks come in coarse steps
sampler:
  name: design  # a lattice over the triangle, and the named rules
  lattice: 3  # more steps, more rules
  replicates: 4  # of the centroid and the paper's rule: they tell the noise
seeds: 2  # trainings of each network; `validate` says how many a difference needs
"""
_PARETO = """\
knobs:  # what is sampled; what is left out stays the base's
  depth: {{min: 4, max: 24}}  # blocks in all
  width: {{min: 8, max: 32, log: true}}  # channels of the first stage
  resolution: {{min: {start}, max: {side}, step: 2}}
  stage_ratio: {{min: 0.3, max: 0.8}}  # of added blocks, the part in stage 3
caps: {{macs: 50M}}  # larger networks are refused before they are trained
objectives: [top1, macs]
trials: 100
"""
