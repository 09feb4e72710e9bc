"""new: a space file to start from, with comments, from a few answers."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from cmt_search.cli.completing import beginning
from cmt_search.cli.new_text import KINDS, Answers, space_text
from cmt_search.cli.options import Json, macs_of
from cmt_search.errors import CmtSearchError, SpaceError, suggestion

T = TypeVar("T")
_SOURCES = ("fashion-mnist-10k", "fashion-mnist", "cifar10", "folder")
_SIDES = {"fashion-mnist-10k": 28, "fashion-mnist": 28, "cifar10": 32}


def new(
    file: Annotated[Path, typer.Argument(metavar="FILE.yaml", help="Space file to write.")],
    kind: Annotated[
        str | None,
        typer.Option(
            help="rule: scaling rules; shape: the best shape at each budget; pareto: accuracy "
            "against cost.",
            autocompletion=beginning(lambda: KINDS),
        ),
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option(
            help="fashion-mnist-10k, fashion-mnist, cifar10, or folder; default with --root: "
            "folder.",
            autocompletion=beginning(lambda: _SOURCES),
        ),
    ] = None,
    root: Annotated[str | None, typer.Option(help="Where the images lie.")] = None,
    size: Annotated[
        int | None, typer.Option(min=4, help="Pixels per side that images of a folder are kept at.")
    ] = None,
    classes: Annotated[
        int | None, typer.Option(min=2, help="Classes of a folder; default: those found in it.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Length of a training.")] = None,
    budgets: Annotated[
        str | None,
        typer.Option(help="MACs, as 4M,8M; default: multiples of the base's. Not for pareto."),
    ] = None,
    trials: Annotated[
        int | None, typer.Option(min=1, help="Trials in all; default: 100, 64, or the design's.")
    ] = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="Trainings of each network.")] = None,
    data_fraction: Annotated[
        float | None, typer.Option(min=0.0001, max=1, help="Part of the training images to use.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file.")] = False,
    json: Json = False,
) -> None:
    """Write a commented space file from a few questions, or from the options that answer them.

    --json prints file, kind, dataset, root, side, classes, epochs, and what else was given.
    """
    from cmt_search.cli.console import command, print_json, say, say_paths
    from cmt_search.space import parse_space

    _check_free(file, force=force)
    kind = _choice(kind, "What to search", known=KINDS, option="--kind")
    dataset, root = _source(dataset, root=root)
    dataset = _choice(dataset, "Which images", known=_SOURCES, option="--dataset")
    root, side, classes = _place(dataset, root=root, size=size, classes=classes)
    epochs = _answer(
        epochs,
        "Epochs of a training?",
        default=1 if dataset == _SOURCES[0] else 30,
        option="--epochs",
        read=lambda text: _whole(text, least=1, option="--epochs"),
    )
    answers = Answers(
        kind=kind,
        dataset=dataset,
        root=root,
        side=side,
        classes=classes,
        epochs=epochs,
        budgets=_budgets(budgets, kind=kind),
        trials=trials,
        seeds=seeds,
        data_fraction=data_fraction,
    )
    text = space_text(Path(file.name), answers)
    parse_space(text, source=str(file))  # whatever was answered, what is written is valid
    _write(file, text)
    if json:
        given = {name: value for name, value in asdict(answers).items() if value is not None}
        print_json({"file": str(file), "root": root, **given})
        return
    say_paths([file])
    say(f"{file}: written; look at it, then: {command('validate', file)}")


def _source(dataset: str | None, *, root: str | None) -> tuple[str | None, str | None]:
    """Return the name of the data set and its root; a folder given as either is an image folder."""
    if dataset is None and root is not None:
        return "folder", root
    if dataset is not None and dataset not in _SOURCES and root is None and Path(dataset).is_dir():
        return "folder", dataset
    return dataset, root


def _budgets(text: str | None, *, kind: str) -> tuple[float, ...] | None:
    """Return the budgets in MACs, increasing.

    Raises:
        SpaceError: the kind of search has none.
    """
    if text is None:
        return None
    if kind == "pareto":
        raise SpaceError("--budgets: a pareto search has none; remove it, or use --kind rule")
    return tuple(sorted(macs_of(text)))


def _check_free(file: Path, *, force: bool) -> None:
    """Refuse what cannot or must not be written, before anything is asked."""
    if file.is_dir():
        raise SpaceError(f"{file} is a folder; give the name of a file, such as {file / 'my.yaml'}")
    if not file.name.isprintable():
        raise SpaceError(f"{str(file)!r} has a line end or the like in it; give another name")
    if file.exists() and not force:
        raise SpaceError(f"{file} exists; give another name, or --force to overwrite it")


def _write(file: Path, text: str) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise SpaceError(f"{file} cannot be written ({error}); choose another place") from None


def _choice(given: str | None, question: str, *, known: Sequence[str], option: str) -> str:
    """One of the words that are known; the first where nobody is asked."""
    return _answer(
        given,
        f"{question}: {', '.join(known)}?",
        default=known[0],
        option=option,
        read=lambda text: _one_of(text, known, option=option),
    )


def _answer(
    given: T | None, question: str, *, default: T, option: str, read: Callable[[str], T]
) -> T:
    """What was given, or what a person at a terminal answers, or the default.

    An answer that will not do is asked for again.
    """

    def check(text: str) -> T:
        try:
            return read(text)
        except CmtSearchError as error:
            raise typer.BadParameter(str(error)) from None

    if given is not None:
        return read(str(given))
    if not sys.stdin.isatty():
        return read(str(default))
    answer: T = typer.prompt(
        f"{question} ({option})", default=str(default), err=True, value_proc=check
    )
    return answer


def _place(
    dataset: str, *, root: str | None, size: int | None, classes: int | None
) -> tuple[str | None, int, int]:
    """Where the images lie, how large they are, and how many classes they have."""
    if dataset == _SOURCES[0]:
        return root, size or _SIDES[dataset], classes or 10
    folder = dataset == "folder"

    def read(text: str) -> str:
        if folder and classes is None:
            _counted(text)
        return text

    root = _answer(
        root, "Where do they lie?", default=f"data/{dataset}", option="--root", read=read
    )
    if not folder:
        return root, size or _SIDES[dataset], classes or 10
    size = _answer(
        size,
        "Pixels per side?",
        default=64,
        option="--size",
        read=lambda text: _whole(text, least=4, option="--size"),
    )
    return root, size, classes or _counted(root)


def _one_of(value: str, known: Sequence[str], *, option: str) -> str:
    if value not in known:
        raise SpaceError(f"{option} {value!r} is unknown; {suggestion(value, known)}")
    return value


def _whole(text: str, *, least: int, option: str) -> int:
    if not text.strip().isdecimal() or int(text) < least:
        raise SpaceError(f"{option} {text!r} is impossible; write a whole number from {least} on")
    return int(text)


def _counted(root: str) -> int:
    """Classes of a folder of images, one folder each."""
    train = Path(root) / "train"
    found = sum(1 for path in train.iterdir() if path.is_dir()) if train.is_dir() else 0
    if found < 2:
        raise SpaceError(
            f"{train} holds {found} folders of classes; point --root at the images, or say how "
            "many there will be with --classes"
        )
    return found
