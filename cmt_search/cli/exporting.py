"""export: variants, families and studies as files."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cmt_search.cli.options import Device, Json
from cmt_search.errors import ExportError

if TYPE_CHECKING:
    from cmt_search.arch import Arch
    from cmt_search.export import Source

_ALL = "all"
_BUILD = "build one: python -c \"import timm, cmt_search.builder; print(timm.create_model('{}'))\""
# timm's script knows no other packages: this makes our networks known before it starts.
_STARTER = (
    "import runpy, sys, cmt_search.builder; runpy.run_path(sys.argv.pop(1), run_name='__main__')"
)


def export(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="Folder of a run; or a preset, or a file to turn.")
    ],
    variant: Annotated[
        str, typer.Option(help="A member of the family, trial-N, a preset, or all members.")
    ] = _ALL,
    to: Annotated[Path | None, typer.Option(help="Folder; default: exports/ in the run.")] = None,
    formats: Annotated[
        str | None,
        typer.Option(
            "--format", help="Of yaml, timm, hf, onnx, python, or all. Default: timm,yaml."
        ),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            metavar="retrain|DIR",
            help="Train once more as the search did, or take those of `cmt-search train`.",
        ),
    ] = None,
    study: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write the study there: csv, parquet, optuna, or all."),
    ] = None,
    register: Annotated[
        Path | None,
        typer.Option(metavar="PKG_DIR", help="Write a package that registers them with timm."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite what differs.")] = False,
    device: Device = None,
    json: Json = False,
) -> None:
    """Write variants, or the study, in formats that other programs load.

    Every file is built again from what was written and compared (key, params, MACs, logits)
    before it takes its place. `cmt_search.load` reads each; loading runs no code.
    """
    from cmt_search.cli.console import print_json, say

    if study is not None:
        paths = _export_study(run, folder=study, formats=formats, force=force)
        return print_json({"study": paths}) if json else say("  ".join(paths.values()))
    wanted = _wanted(formats, register=register is not None)
    _check_keeps(wanted, weights=weights, register=register)
    sources = _sources(run, variant=variant, weights=weights, device=device, quiet=json)
    target = to or _default_folder(run)
    written = {
        source.variant.name: _written(source, wanted, folder=target, force=force)
        for source in sources
    }
    result: dict[str, Any] = {"exported": written}
    if register is not None:
        result["package"] = _package(sources, folder=register, force=force)
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
    words = ["python", "-c", _STARTER, "train.py", "--model", f"local-dir:{folder}"]
    size = [str(arch.in_chans), str(arch.resolution), str(arch.resolution)]
    words += ["--input-size", *size, "--num-classes", str(arch.num_classes)]
    return shlex.join([*words, "--data-dir", "IMAGES"])


def _wanted(text: str | None, *, register: bool) -> tuple[str, ...]:
    """The formats of variants; a package alone asks for none.

    Raises:
        ExportError: one is unknown, or is a study's.
    """
    from cmt_search.export import FORMATS, STUDY_FORMATS

    if text is None:
        return () if register else ("timm", "yaml")
    names = tuple(FORMATS) if text == _ALL else tuple(part.strip() for part in text.split(","))
    for name in names:
        if name in STUDY_FORMATS:
            raise ExportError(f"--format {name!r} is of a study; add --study DIR")
        if name not in FORMATS:
            raise ExportError(f"--format {name!r} is unknown; use {', '.join(FORMATS)} or all")
    return names


def _check_keeps(wanted: Sequence[str], *, weights: str | None, register: Path | None) -> None:
    """Refuse weights that nothing would keep, before hours go into them."""
    from cmt_search.export import FORMATS

    if weights and register is None and not any(FORMATS[name].keeps_weights for name in wanted):
        keep = ", ".join(name for name, how in FORMATS.items() if how.keeps_weights)
        raise ExportError(f"--weights: {', '.join(wanted)} keeps none; add one of {keep}")


def _export_study(
    run: Path, *, folder: Path, formats: str | None, force: bool
) -> Mapping[str, str]:
    from cmt_search.export import STUDY_FORMATS, export_study

    asked = formats or _ALL
    names = list(STUDY_FORMATS) if asked == _ALL else [part.strip() for part in asked.split(",")]
    for name in names:
        if name not in STUDY_FORMATS:
            raise ExportError(
                f"--format {name!r} is no format of a study; use {', '.join(STUDY_FORMATS)} or all"
            )
    return {name: str(export_study(run, format=name, folder=folder, force=force)) for name in names}


def _sources(
    run: Path, *, variant: str, weights: str | None, device: str | None, quiet: bool
) -> "list[Source]":
    from cmt_search.cli.console import say
    from cmt_search.cli.export_choice import variants_of, with_weights

    chosen = variants_of(run, name=variant)
    if weights is not None and weights != "retrain" and len(chosen) > 1:
        names = ", ".join(found.name for found in chosen)
        raise ExportError(f"--weights {weights} is one training; name its --variant, of {names}")
    sources = []
    for found in chosen:
        source = with_weights(found, run=run, weights=weights, device=device, quiet=quiet)
        if weights is not None and not quiet:
            say(f"{found.name}: {source.origin}")
        sources.append(source)
    return sources


def _written(
    source: "Source", wanted: Sequence[str], *, folder: Path, force: bool
) -> dict[str, str]:
    from cmt_search.export import export as export_one

    return {
        name: str(export_one(source, format=name, folder=folder, force=force)) for name in wanted
    }


def _package(sources: "Sequence[Source]", *, folder: Path, force: bool) -> dict[str, Any]:
    from cmt_search.export import timm_name, write_package

    path = write_package(sources, folder=folder, force=force)
    return {"folder": str(path), "names": [timm_name(s.variant.name) for s in sources]}


def _default_folder(run: Path) -> Path:
    from cmt_search.search import RunFolder

    return RunFolder(run).exports if run.is_dir() else Path("exports")


def _show(result: Mapping[str, Any], *, sources: "Sequence[Source]") -> None:
    from cmt_search.cli.console import say

    for paths in result["exported"].values():
        if paths:
            say("  ".join(paths.values()))
    if package := result.get("package"):
        say(f"{package['folder']}: pip install it, import it, and timm knows {package['names']}")
    if command := result.get("train"):
        folder = result["exported"][sources[-1].variant.name]["timm"]
        say(_BUILD.format(f"local-dir:{folder}"))
        say(f"train it with timm's train.py: {command}")
