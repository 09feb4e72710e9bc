"""What export exports: the variants that a run, a preset or a file holds, and their weights."""

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from cmt_search.cli.export_options import NONE, RETRAIN
from cmt_search.errors import ExportError, closest_match, suggestion
from cmt_search.presets import PRESETS

if TYPE_CHECKING:
    from cmt_search.export import Source, Variant
    from cmt_search.proxy.trainer import Training


def variants_of(run: Path, *, name: str) -> "tuple[Variant, ...]":
    """The variants of this name; `all` are the members of the family.

    `run` is the folder of a run, a preset, or a file or folder that was exported before.

    Raises:
        RunError: the folder holds no run.
        ExportError: there is no variant of this name.
    """
    from cmt_search.export import read_family
    from cmt_search.search import RunDir

    if str(run) in PRESETS and not run.exists():
        return _named((_preset(str(run)),), name=name)
    if not run.exists():
        raise _nothing(run)
    if run.is_file() or (run / "config.json").exists() or (run / "train.json").exists():
        return _named(_in_file(run), name=name)
    folder = RunDir.open(run)
    if name in PRESETS:
        return (_preset(name),)
    if match := re.fullmatch(r"trial-(\d+)", name):
        return (_trial(folder.path, number=int(match[1])),)
    return _named(read_family(folder.family), name=name, more=("trial-N", *PRESETS))


def with_weights(
    variant: "Variant", *, run: Path, weights: str | None, device: str | None, quiet: bool
) -> "Source":
    """The variant with the weights that were asked for, or that lie in the file it comes from.

    Raises:
        CmtSearchError: there are none of this network, or they cannot be trained here.
    """
    from cmt_search.export import Source, retrain, source_in, trained_in, weights_of

    if weights is None:
        if trained_in(run):
            return source_in(run)
        if (run / "train.json").exists() and not quiet:
            sys.stderr.write(
                f"{run}: the training is not at its end, so there are no weights yet\n"
            )
        return Source(variant=variant)
    if weights == NONE:
        return Source(variant=variant)
    if weights != RETRAIN:
        return weights_of(variant, path=Path(weights))
    from cmt_search.search import RunDir, read_trials
    from cmt_search.space import load_space

    folder = RunDir.open(run)

    def tell(training: "Training") -> None:
        last = training.curve[-1]
        sys.stderr.write(
            f"{variant.name}: epoch {last.epoch}, loss {last.loss:.4f}, top1 {last.top1:.2%}, "
            f"{training.seconds:.0f} s\n"
        )

    return retrain(
        variant,
        space=load_space(folder.space),
        records=read_trials(run),
        device=device,
        on_epoch=None if quiet else tell,
    )


def _nothing(run: Path) -> ExportError:
    """There is nothing of this name; what may have been meant."""
    places = (run.parent, Path("runs"))
    runs = [str(found.parent) for place in places for found in place.glob("*/run.json")]
    near = closest_match(str(run), (*PRESETS, *runs))
    guess = f"did you mean {near}? Presets" if near else "presets"
    return ExportError(
        f"{run} is neither a preset, a run nor a file; {guess} are {', '.join(PRESETS)}; a run is "
        "a folder that `cmt-search run` made"
    )


def _preset(name: str) -> "Variant":
    from cmt_search.export import Variant

    return Variant(name=name, arch=PRESETS[name], provenance={"preset": name})


def _in_file(path: Path) -> "tuple[Variant, ...]":
    from cmt_search.export import variants_in

    return variants_in(path)


def _named(
    variants: "tuple[Variant, ...]", *, name: str, more: tuple[str, ...] = ()
) -> "tuple[Variant, ...]":
    if name == "all":
        return variants
    for variant in variants:
        if variant.name == name:
            return (variant,)
    known = ("all", *(v.name for v in variants), *more)
    raise ExportError(f"--variant {name!r} is unknown; {suggestion(name, known)}")


def _trial(run: Path, *, number: int) -> "Variant":
    """The network on the last rung of a trial."""
    from cmt_search.export import trial_variant
    from cmt_search.search import RunDir, read_trials

    records = {record.number: record for record in read_trials(run)}
    if number not in records:
        has = f"0 to {max(records)}" if records else "none yet"
        raise ExportError(f"trial {number} is not in {run}, which has {has}")
    return trial_variant(records[number], run=RunDir.open(run).info().name)
