"""A folder as the Hugging Face Hub has models of timm: config, weights, model card."""

from pathlib import Path

from cmt_search.export import as_timm
from cmt_search.export.card import model_card
from cmt_search.export.rebuilding import Rebuilt
from cmt_search.export.source import Source
from cmt_search.export.variant import Variant

CARD = "README.md"


def folder_name(name: str) -> str:
    """Apart from the timm folder of the same variant."""
    return f"{name}-hf"


def files(name: str) -> tuple[str, ...]:
    """What `write` may write."""
    return tuple(f"{folder_name(name)}/{file}" for file in (as_timm.WEIGHTS, CARD, as_timm.CONFIG))


def write(source: Source, folder: Path) -> None:
    """Write all three; weights are fresh ones, and the card says so, where there are no others."""
    target = folder / folder_name(source.variant.name)
    as_timm.write_folder(source, target, weights=True)
    (target / CARD).write_text(model_card(source), encoding="utf-8")


def read(path: Path) -> Variant:
    """The variant in such a folder.

    Raises:
        ExportError: the field is named.
    """
    return as_timm.read(path)


def rebuild(path: Path, source: Source) -> Rebuilt:
    """The network with its weights, as timm builds it."""
    return as_timm.rebuild(path, source)
