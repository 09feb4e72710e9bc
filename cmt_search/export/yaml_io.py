"""Plain values in YAML and JSON: nothing in them is run, and nothing stands in them twice."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from cmt_search import yaml_reader
from cmt_search.errors import ExportError
from cmt_search.yaml_reader import parse_mapping


def read_text(file: Path) -> str:
    """The text of a file.

    Raises:
        ExportError: it cannot be read, or is no UTF-8.
    """
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ExportError(
            f"{file}: cannot be read ({error}); give an exported file or folder"
        ) from None


def read_mapping(file: Path) -> dict[str, Any]:
    """The values in a file of JSON, which ends in .json, or else of YAML.

    Raises:
        ExportError: it cannot be read, is broken, or holds no mapping.
    """
    if file.suffix == ".json":
        return parsed_json(read_text(file), where=str(file))
    text = yaml_reader.read_text(file, what="an exported file or folder", error=ExportError)
    begin = "the description of a network, a family or a study"
    return parse_mapping(text, source=str(file), begin=begin, error=ExportError)


def parsed_json(text: str | bytes, *, where: str) -> dict[str, Any]:
    """The values in a text of JSON.

    Raises:
        ExportError: it is broken, holds a field twice, or no mapping.
    """
    try:
        data = json.loads(text, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise _broken(error, where=where) from None
    return _mapping(data, where=where)


def yaml_text(data: Mapping[str, Any]) -> str:
    """The values as YAML, each written out: aliases are not read back."""
    return yaml.dump(dict(data), Dumper=_Dumper, sort_keys=False, width=100, allow_unicode=True)


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002
        """Write a value that comes twice out twice."""
        return True


def _text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    """Unicode's own line ends are escaped: PyYAML would write them as they are, and read spaces."""
    style = '"' if set(text) & set("\x85\u2028\u2029") else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    data = dict(pairs)
    if len(data) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{twice} comes twice: keep one of them")
    return data


def _broken(error: Exception, *, where: str) -> ExportError:
    what = " ".join(str(error).split())  # YAML explains itself over several lines
    return ExportError(f"{where}: is broken ({what}); restore the file, or export it again")


def _mapping(data: object, *, where: str) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise ExportError(
            f"{where}: holds no description of a network, a family or a study; "
            "restore the file, or export it again"
        )
    return data
