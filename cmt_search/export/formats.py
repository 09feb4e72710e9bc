"""The formats of a variant, by name: how each is written, checked and read."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from cmt_search.errors import ExportError
from cmt_search.export import onnx, timm_folder, torch_export
from cmt_search.export.source import Source
from cmt_search.export.staging import publish
from cmt_search.export.variant import Variant
from cmt_search.export.verify import Rebuilt, check_rebuilt, rebuilt_module
from cmt_search.export.yaml_io import read_mapping, yaml_text

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """One way to write a variant."""

    name: str
    what: str  # for people
    path: Callable[[str], str]  # of a variant's name: the file or folder that `read` takes
    files: Callable[[str], tuple[str, ...]]  # all that it may write, relative to the folder
    write: Callable[[Source, Path], None]  # into an empty folder
    read: Callable[[Path], Variant]
    rebuild: Callable[[Path, Source], Rebuilt]
    keeps_weights: bool = True
    is_traced: bool = False  # takes seconds to minutes


def _write_yaml(source: Source, folder: Path) -> None:
    variant = source.variant
    text = yaml_text(variant.to_dict())
    (folder / f"{variant.name}.yaml").write_text(text, encoding="utf-8")


def _read_yaml(path: Path) -> Variant:
    return Variant.from_dict(read_mapping(path), where=str(path))


def _rebuild_yaml(path: Path, source: Source) -> Rebuilt:
    """Build the network of the file, with the weights that the exported one has."""
    from cmt_search.builder import CMT

    module = CMT(_read_yaml(path).arch)
    module.load_state_dict(source.model.state_dict())
    return rebuilt_module(module)


FORMATS: Mapping[str, Format] = MappingProxyType(
    {
        "yaml": Format(
            name="yaml",
            what="description for people and programs",
            path=lambda name: f"{name}.yaml",
            files=lambda name: (f"{name}.yaml",),
            write=_write_yaml,
            read=_read_yaml,
            rebuild=_rebuild_yaml,
            keeps_weights=False,
        ),
        "timm": Format(
            name="timm",
            what="folder for timm and the Hugging Face Hub, with a model card",
            path=lambda name: name,
            files=timm_folder.files,
            write=timm_folder.write,
            read=timm_folder.read,
            rebuild=timm_folder.rebuild,
        ),
        "onnx": Format(
            name="onnx",
            what="graph for ONNX Runtime",
            path=lambda name: f"{name}.onnx",
            files=onnx.files,
            write=onnx.write,
            read=onnx.read,
            rebuild=onnx.rebuild,
            is_traced=True,
        ),
        "pt2": Format(
            name="pt2",
            what="program for torch alone (torch.export)",
            path=lambda name: f"{name}{torch_export.SUFFIX}",
            files=torch_export.files,
            write=torch_export.write,
            read=torch_export.read,
            rebuild=torch_export.rebuild,
            is_traced=True,
        ),
    }
)


def export(source: Source, *, format: str, folder: Path | str, force: bool = False) -> Path:  # noqa: A002
    """Write a variant, build it again from what was written, compare, and only then publish it.

    Raises:
        ExportError: the format or the name is none; something else lies there and `force` is not
            given; the written file gives another network.
    """
    how, name, target = format_named(format), source.variant.name, Path(folder)
    if not _NAME.fullmatch(name):
        raise ExportError(
            f"variant name {name!r} is no file name; use letters, digits, '.', '_' and '-'"
        )

    def write(staged: Path) -> None:
        how.write(source, staged)
        path = staged / how.path(name)
        what = f"{name} as {how.name}"
        check_rebuilt(how.rebuild(path, source), read=how.read(path), source=source, what=what)

    publish(how.files(name), folder=target, force=force, write=write)
    return target / how.path(name)


def format_named(name: str) -> Format:
    """A format.

    Raises:
        ExportError: there is none of this name.
    """
    if name not in FORMATS:
        raise ExportError(f"format {name!r} is unknown; use {', '.join(FORMATS)}")
    return FORMATS[name]
