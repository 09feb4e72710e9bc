"""A variant as a program of torch.export: runs with torch alone, image size fixed, any batch."""

import json
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cmt_search.errors import ExportError
from cmt_search.export.source import Source
from cmt_search.export.variant import Variant
from cmt_search.export.verify import Rebuilt
from cmt_search.export.yaml_io import parsed_json

if TYPE_CHECKING:
    from torch.export import ExportedProgram

SUFFIX = ".pt2"
_DESCRIPTION = "cmt_search.json"  # extra file of the archive: variant, weights
_MAX_BYTES = 4_000_000
_HINT = "export the variant again"


def files(name: str) -> tuple[str, ...]:
    """Return the names of the files that `write` may write."""
    return (f"{name}{SUFFIX}",)


def export_program(source: Source) -> "ExportedProgram":
    """Trace the network with a dynamic batch dimension and without paths of this machine."""
    import torch

    batch = torch.export.Dim("batch")
    program = torch.export.export(source.model, (source.images,), dynamic_shapes=({0: batch},))
    for module in program.graph_module.modules():
        if isinstance(module, torch.fx.GraphModule):
            for node in module.graph.nodes:
                node.meta.pop("stack_trace", None)  # names files; differs between processes
    return program


def write(source: Source, folder: Path) -> None:
    """Write `NAME.pt2`: images (batch, channels, side, side) to logits (batch, classes)."""
    import torch

    description: dict[str, Any] = {
        "variant": source.variant.to_dict(),
        "weights": {"origin": source.origin, **source.image_statistics()},
    }
    torch.export.save(
        export_program(source),
        folder / f"{source.variant.name}{SUFFIX}",
        extra_files={_DESCRIPTION: json.dumps(description)},
    )


def read(path: Path) -> Variant:
    """Read the variant from the archive's description; nothing else in the file is loaded.

    Raises:
        ExportError: the file is not an exported program of this package, or is damaged.
    """
    description = read_description(path)
    return Variant.from_dict(description.get("variant"), where=f"{path}: {_DESCRIPTION}")


def read_description(path: Path) -> dict[str, Any]:
    """Read the description in the archive.

    Raises:
        ExportError: it is missing or damaged.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = [n for n in archive.namelist() if n.endswith(f"/extra/{_DESCRIPTION}")]
            if len(names) != 1:
                raise ExportError(
                    f"{path}: {_DESCRIPTION} is missing; the file is not from `cmt-search export`"
                )
            if archive.getinfo(names[0]).file_size > _MAX_BYTES:
                raise ExportError(f"{path}: {_DESCRIPTION} is too large; {_HINT}")
            text = archive.read(names[0])
    except (OSError, ValueError, RuntimeError, NotImplementedError, zipfile.BadZipFile) as error:
        raise ExportError(f"{path}: cannot be read ({error}); {_HINT}") from None
    return parsed_json(text, where=f"{path}: {_DESCRIPTION}")


def rebuild(path: Path, _source: Source) -> Rebuilt:
    """Load the program that was just written."""
    import torch

    module = torch.export.load(path).module()
    return Rebuilt(module=module, logits=module)
