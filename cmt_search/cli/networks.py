"""Networks by what a user calls them: a preset's name, or a path."""

from pathlib import Path
from typing import TYPE_CHECKING

from cmt_search.errors import ArchError, closest_match
from cmt_search.presets import PRESETS

if TYPE_CHECKING:
    from cmt_search.arch import Arch


def network_of(text: str) -> "Arch":
    """A preset, or what an exported file or folder or a YAML file describes.

    Raises:
        ArchError: it is neither a preset nor a file.
        ExportError: the file describes no network.
    """
    if text in PRESETS:
        return PRESETS[text]
    if not Path(text).exists() and not Path(text).suffix:
        near = closest_match(text, PRESETS)
        guess = f"did you mean {near}? Presets" if near else "presets"
        raise ArchError(
            f"{text} is neither a preset nor a file; {guess} are {', '.join(PRESETS)}; a file is "
            "what `cmt-search export` wrote"
        )
    from cmt_search.cli.console import warnings_as_notes
    from cmt_search.export import load_variant

    with warnings_as_notes():
        return load_variant(Path(text)).arch
