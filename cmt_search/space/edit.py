"""Changes to a space file that keep its comments and its layout."""

import io
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap

from cmt_search.atomic import replacing
from cmt_search.errors import SpaceError
from cmt_search.space.load import load_space

_WIDTH = 10_000  # columns; lines are not wrapped anew


def edit_space(file: Path, changes: Mapping[str, Any]) -> None:
    """Set values by their key paths, such as "proxy.epochs"; sections that are missing are made.

    The new file is read as a space before it takes the old one's place.

    Raises:
        SpaceError: the file cannot be written, or the change makes it invalid; it stays as it was.
    """
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = _WIDTH
    data = yaml.load(file.read_text(encoding="utf-8"))
    for path, value in changes.items():
        _set(data, path.split("."), value)
    text = io.StringIO()
    yaml.dump(data, text)
    try:
        with replacing(file) as partial:
            partial.write_text(text.getvalue(), encoding="utf-8")
            load_space(partial)
    except OSError as error:
        raise SpaceError(f"{file} cannot be written ({error.strerror}); free it") from error


def _set(data: MutableMapping[str, Any], path: list[str], value: Any) -> None:
    *sections, last = path
    for name in sections:
        data = data.setdefault(name, CommentedMap())
    data[last] = value
