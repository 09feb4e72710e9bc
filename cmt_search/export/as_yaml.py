"""A variant as one YAML file: for people, for version control, and for other programs."""

from pathlib import Path

from cmt_search.export.rebuilding import Rebuilt, rebuilt_module
from cmt_search.export.source import Source
from cmt_search.export.text import read_mapping, yaml_text
from cmt_search.export.variant import Variant


def files(name: str) -> tuple[str, ...]:
    """What `write` may write."""
    return (f"{name}.yaml",)


def write(source: Source, folder: Path) -> None:
    """Write `NAME.yaml`."""
    variant = source.variant
    text = yaml_text(variant.to_dict())
    (folder / f"{variant.name}.yaml").write_text(text, encoding="utf-8")


def read(path: Path) -> Variant:
    """The variant in an exported YAML file.

    Raises:
        ExportError: the field is named.
    """
    return Variant.from_dict(read_mapping(path), where=str(path))


def rebuild(path: Path, source: Source) -> Rebuilt:
    """The network of the file, with the weights that the exported one has."""
    from cmt_search.builder import CMT

    module = CMT(read(path).arch)
    module.load_state_dict(source.model.state_dict())
    return rebuilt_module(module)
