"""export: variants, families and studies as files."""

import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from json import dumps as quoted  # a word in double quotes, as Python reads it, too
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cmt_search.cli.completing import ALL, exportable, formats_or_all, variants, weights_words
from cmt_search.cli.options import Device, Json, find_exportable, folder_for
from cmt_search.errors import ExportError

if TYPE_CHECKING:
    from cmt_search.arch import Arch
    from cmt_search.export import Source

# Double quotes within, so that the shell's single ones around it stay readable.
_BUILD = "import timm, cmt_search.builder; print(timm.create_model({}))"


def export(
    run: Annotated[
        Path,
        typer.Argument(
            metavar="RUN",
            help="Folder of a run; or a preset, or a file to turn.",
            autocompletion=exportable,
            callback=find_exportable,
        ),
    ],
    variant: Annotated[
        str | None,
        typer.Option(
            help="A member of the family, trial-N, a preset, or all members, as by default.",
            autocompletion=variants,
        ),
    ] = None,
    to: Annotated[
        Path | None,
        typer.Option(
            parser=folder_for("--to"),
            metavar="PATH",
            help="Folder; default: exports/ in the run, or here if RUN is no run.",
        ),
    ] = None,
    formats: Annotated[
        str | None,
        typer.Option(
            "--format",
            help="Comma-separated: yaml, timm, onnx, pt2, or all. Default: timm,yaml.",
            autocompletion=formats_or_all,
        ),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            metavar="retrain|none|PATH",
            help="Train once more as the search did; or go without; or take those of `cmt-search "
            "train` or of another export. Default: those of the file or folder that is exported.",
            autocompletion=weights_words,
        ),
    ] = None,
    study: Annotated[
        Path | None,
        typer.Option(
            parser=folder_for("--study"),
            metavar="DIR",
            help="Write the study there, and nothing else: csv, parquet, optuna, or all.",
        ),
    ] = None,
    license_: Annotated[
        str | None,
        typer.Option(
            "--license",
            metavar="ID",
            help="License of the model card, as an identifier of the Hub (mit, apache-2.0). "
            "Default: none stated.",
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite what differs.")] = False,
    device: Device = None,
    json: Json = False,
) -> None:
    """Write variants, or the study, in formats that other programs load.

    Every file is built again from what was written and compared (key, params, MACs, logits)
    before it takes its place. `cmt_search.load` reads each; loading runs no code. Trained weights
    are never lost: --force does not put a network without any in their place.
    """
    from cmt_search.cli.console import is_quiet, print_json
    from cmt_search.cli.export_options import check_alone, check_not_lost, wanted_formats

    if study is not None:
        of_networks = {"--variant": variant, "--to": to, "--license": license_}
        check_alone(of_networks | {"--weights": weights, "--device": device})
        paths = _export_study(run, folder=study, formats=formats, force=force)
        return print_json({"study": paths}) if json else _say_files(paths)
    wanted = wanted_formats(formats)
    quiet = json or is_quiet()
    sources = [
        replace(source, license=license_)
        for source in _sources(
            run, wanted, variant=variant or ALL, weights=weights, device=device, quiet=quiet
        )
    ]
    target = to or _default_folder(run)
    check_not_lost(sources, wanted, folder=target)
    written = {
        source.variant.name: _written(source, wanted, folder=target, force=force, quiet=quiet)
        for source in sources
    }
    result: dict[str, Any] = {"exported": written}
    if trained := {s.variant.name: s.origin for s in sources if s.weights is not None}:
        result["weights"] = trained
    if "timm" in wanted:
        result["train"] = train_command(
            sources[-1].variant.arch, folder=written[sources[-1].variant.name]["timm"]
        )
    if json:
        return print_json(result)
    _show(result, sources=sources)
    return None


def train_command(arch: "Arch", *, folder: str) -> str:
    """How timm's train.py, from its repository, trains the network in a timm folder."""
    words = ["python", "-m", "cmt_search.timm", "train.py", "--model", f"local-dir:{folder}"]
    size = [str(arch.in_chans), str(arch.resolution), str(arch.resolution)]
    words += ["--input-size", *size, "--num-classes", str(arch.num_classes)]
    return shlex.join([*words, "--data-dir", "IMAGES"])


def _export_study(
    run: Path, *, folder: Path, formats: str | None, force: bool
) -> Mapping[str, str]:
    from cmt_search.cli.export_options import study_formats
    from cmt_search.export import export_study

    names = study_formats(formats)
    return {name: str(export_study(run, format=name, folder=folder, force=force)) for name in names}


def _sources(
    run: Path,
    wanted: Sequence[str],
    *,
    variant: str,
    weights: str | None,
    device: str | None,
    quiet: bool,
) -> "list[Source]":
    """The variants with their weights, as far as what is wanted holds any."""
    from cmt_search.cli.console import warnings_as_notes
    from cmt_search.cli.export_choice import variants_of, with_weights
    from cmt_search.cli.export_options import NONE, RETRAIN, check_weights, keeps_weights

    check_weights(weights, wanted=wanted)
    with warnings_as_notes():
        chosen = variants_of(run, name=variant)
    if weights not in (None, NONE, RETRAIN) and len(chosen) > 1:
        names = ", ".join(found.name for found in chosen)
        raise ExportError(f"--weights {weights} is one training; name its --variant, of {names}")
    asked = weights if keeps_weights(wanted) else NONE
    return [
        with_weights(found, run=run, weights=asked, device=device, quiet=quiet) for found in chosen
    ]


def _written(
    source: "Source", wanted: Sequence[str], *, folder: Path, force: bool, quiet: bool
) -> dict[str, str]:
    from cmt_search.export import FORMATS
    from cmt_search.export import export as export_one

    paths = {}
    for name in wanted:
        if FORMATS[name].is_traced and not quiet:
            sys.stderr.write(f"{source.variant.name}: tracing and checking {name} ...\n")
        paths[name] = str(export_one(source, format=name, folder=folder, force=force))
    return paths


def _default_folder(run: Path) -> Path:
    from cmt_search.search import RunDir

    # Never inside an exported folder or that of a training.
    return RunDir(run).exports if (run / "run.json").exists() else Path("exports")


def _say_files(paths: Mapping[str, str]) -> None:
    from cmt_search.cli.console import say, say_paths

    say("  ".join(shlex.quote(path) for path in paths.values()))
    say_paths(paths.values())


def _show(result: Mapping[str, Any], *, sources: "Sequence[Source]") -> None:
    from cmt_search.cli.console import say

    for name, origin in result.get("weights", {}).items():
        say(f"{name}: {origin}")
    for paths in result["exported"].values():
        if paths:
            _say_files(paths)
    if command := result.get("train"):
        folder = result["exported"][sources[-1].variant.name]["timm"]
        build = shlex.join(["python", "-c", _BUILD.format(quoted(f"local-dir:{folder}"))])
        say(f"build one: {build}")
        say(f"train it with timm's train.py: {command}")
