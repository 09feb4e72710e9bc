"""Plain values in YAML and JSON: nothing in them is run, and nothing stands in them twice."""

import json
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import yaml

from cmt_search.errors import ExportError


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
    text = read_text(file)
    return parsed_json(text, where=str(file)) if file.suffix == ".json" else _yaml(text, file=file)


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


# PyYAML has no error of its own for a tag on a value of another kind: `!!bool 3`.
_NO_YAML = (yaml.YAMLError, ValueError, TypeError, LookupError, AttributeError, RecursionError)


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002
        """Write a value that comes twice out twice."""
        return True


def _text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    """Unicode's own line ends are escaped: PyYAML would write them as they are, and read spaces."""
    style = '"' if set(text) & set("\x85\u2028\u2029") else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


class _Loader(yaml.SafeLoader):
    """Reads plain values; a key that comes twice, and an alias, is broken YAML to it."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Refuse aliases: a few of them could stand for more than memory holds, or for a circle."""
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()  # type: ignore[no-untyped-call]
            raise yaml.constructor.ConstructorError(
                None, None, f"has the alias *{event.anchor}: write its value out", event.start_mark
            )
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """Refuse a key that comes twice."""
        found = set()
        for key, _ in node.value:
            if key.value in found and isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(
                    None, None, f"{key.value} comes twice: keep one of them", key.start_mark
                )
            if isinstance(key, yaml.ScalarNode):
                found.add(key.value)
        return super().construct_mapping(node, deep=deep)


def _yaml(text: str, *, file: Path) -> dict[str, Any]:
    try:
        data = yaml.load(text, Loader=_Loader)  # noqa: S506 - a kind of SafeLoader
    except _NO_YAML as error:
        raise _broken(error, where=str(file)) from None
    return _mapping(data, where=str(file))


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
