"""export: variants as files."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cmt_search.cli.options import Json, RunArgument
from cmt_search.errors import ExportError
from cmt_search.presets import PRESETS

if TYPE_CHECKING:
    from cmt_search.export import Variant

_FORMATS = ("yaml", "timm")
_BUILD = "build one: python -c \"import timm, cmt_search.builder; print(timm.create_model('{}'))\""


def export(
    run: RunArgument,
    variant: Annotated[
        str, typer.Option(help="A member of the family, trial-N, a preset, or all members.")
    ] = "all",
    to: Annotated[Path | None, typer.Option(help="Folder; default: exports/ in the run.")] = None,
    formats: Annotated[str, typer.Option("--format", help="Of yaml and timm.")] = "timm,yaml",
    force: Annotated[bool, typer.Option("--force", help="Overwrite what differs.")] = False,
    json: Json = False,
) -> None:
    """Write variants as YAML and as folders that timm.create_model builds."""
    from cmt_search.cli.console import print_json, say
    from cmt_search.export import write_timm, write_yaml
    from cmt_search.search import RunFolder

    folder = RunFolder.open(run)
    target = to or folder.exports
    wanted = _wanted(formats)
    written: dict[str, dict[str, str]] = {}
    for found in _variants(folder.path, name=variant, family=folder.family):
        paths = written.setdefault(found.name, {})
        if "yaml" in wanted:
            paths["yaml"] = str(write_yaml(found, folder=target, force=force))
        if "timm" in wanted:
            paths["timm"] = str(write_timm(found, folder=target, force=force))
    if json:
        print_json({"exported": written})
        return
    for paths in written.values():
        say("  ".join(paths.values()))
    if "timm" in wanted:
        say(_BUILD.format(f"local-dir:{paths['timm']}"))


def _wanted(text: str) -> tuple[str, ...]:
    names = tuple(part.strip() for part in text.split(","))
    for name in names:
        if name not in _FORMATS:
            raise ExportError(f"--format {name!r} is unknown; use {' and '.join(_FORMATS)}")
    return names


def _variants(run: Path, *, name: str, family: Path) -> "tuple[Variant, ...]":
    from cmt_search.export import Variant, read_family

    if name in PRESETS:
        return (Variant(name=name, arch=PRESETS[name], provenance={"preset": name}),)
    if match := re.fullmatch(r"trial-(\d+)", name):
        return (_trial(run, number=int(match[1])),)
    members = read_family(family)
    if name == "all":
        return members
    for member in members:
        if member.name == name:
            return (member,)
    known = ", ".join(("all", *(m.name for m in members), "trial-N", *PRESETS))
    raise ExportError(f"--variant {name!r} is unknown; use {known}")


def _trial(run: Path, *, number: int) -> "Variant":
    """The network on the last rung of a trial."""
    from cmt_search.export import Variant
    from cmt_search.search import read_trials

    records = {record.number: record for record in read_trials(run)}
    if number not in records or not records[number].rungs:
        raise ExportError(f"trial {number} is not in {run}, which has 0 to {len(records) - 1}")
    record = records[number]
    top1 = [m.top1 for m in record.rungs[-1].measurements]
    return Variant(
        name=f"trial-{number}",
        arch=record.rungs[-1].rung.arch,
        provenance={"run": run.name, "trial": number, "rule": record.name, "proxy_top1": top1},
    )
