"""The only reader of YAML: plain values, bounded in size, each key once."""

from collections.abc import Hashable
from pathlib import Path
from typing import Any, ClassVar, NoReturn

import yaml
from yaml.constructor import ConstructorError

from cmt_search.errors import CmtSearchError, SpaceError

MAX_BYTES = 1_000_000
MAX_NODES = 50_000  # an alias counts as its whole value
MAX_DEPTH = 40
MAX_DIGITS = 40

_TAG = "tag:yaml.org,2002:"
_PLAIN = ("null", "bool", "int", "float", "str", "seq", "map")
_IMPLICIT = [_TAG + name for name in ("null", "bool", "int", "float", "merge")]


def read_text(path: Path | str, *, what: str, error: type[CmtSearchError] = SpaceError) -> str:
    """Read a regular file of UTF-8 text; `what` says in messages which kind of file is expected.

    Raises:
        CmtSearchError: of type `error`: it is missing, too large, or not text.
    """
    file = Path(path)
    try:
        if file.exists() and not file.is_file():
            raise error(f"{file}: is not a regular file; give the path of {what}")
        if (size := file.stat().st_size) > MAX_BYTES:
            raise error(
                f"{file}: has {size:,} bytes, and {MAX_BYTES:,} are read; give the path of {what}"
            )
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as failure:
        raise error(f"{file}: cannot be read ({failure}); give the path of {what}") from None


def parse_mapping(
    text: str, *, source: str, begin: str, error: type[CmtSearchError] = SpaceError
) -> dict[Any, Any]:
    """Parse YAML text that is a mapping; `source` names it, `begin` says how such a file begins.

    Raises:
        CmtSearchError: of type `error`: it is invalid, too large, or repeats a key.
    """
    if len(text) > MAX_BYTES:
        raise error(f"{source}: has more than {MAX_BYTES:,} characters; shorten it")
    try:
        _check_size(text)
        data = yaml.load(text, Loader=_Loader)  # noqa: S506 - derives from SafeLoader
    except yaml.YAMLError as failure:
        raise error(f"{source}: invalid YAML: {_format(failure)}") from None
    if not isinstance(data, dict):
        raise error(f"{source}: holds no mapping; begin with {begin}")
    return data


def _check_size(text: str) -> None:
    """Count values and levels before anything is built; an alias counts as its whole value."""
    count = 0
    sizes: dict[str | None, int] = {}  # values by anchor
    parents: list[tuple[str | None, int]] = []  # anchors of open collections, and values before
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        match event:
            case yaml.AliasEvent():
                if event.anchor in (anchor for anchor, _ in parents):
                    _fail(f"*{event.anchor} contains itself; write it out", event.start_mark)
                count += sizes.get(event.anchor, 0)
            case yaml.ScalarEvent():
                count += 1
                sizes[event.anchor] = 1
            case yaml.CollectionStartEvent():
                parents.append((event.anchor, count))
                count += 1
            case yaml.CollectionEndEvent():
                anchor, before = parents.pop()
                sizes[anchor] = count - before
        if count > MAX_NODES:
            _fail(f"holds more than {MAX_NODES:,} values; shorten it", event.start_mark)
        if len(parents) > MAX_DEPTH:
            _fail(f"is nested deeper than {MAX_DEPTH} levels; simplify it", event.start_mark)


class _Loader(yaml.SafeLoader):
    """Constructs null, booleans, numbers, text, lists and mappings only."""

    # A date is text, and so is a lone `=`.
    yaml_implicit_resolvers: ClassVar = {  # type: ignore[misc]
        first: [(tag, pattern) for tag, pattern in resolvers if tag in _IMPLICIT]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """Construct a value; one that its tag does not allow is an error with its place."""
        kind = node.tag.removeprefix(_TAG)
        if kind not in _PLAIN:
            tag = node.tag[:100].replace(_TAG, "!!")
            _fail(f"the tag {tag} is not supported; remove it", node.start_mark)
        if kind in ("int", "float") and len(str(node.value)) > MAX_DIGITS:
            _fail(f"a number has more than {MAX_DIGITS} digits; write fewer", node.start_mark)
        try:
            return super().construct_object(node, deep=deep)
        except (ValueError, LookupError, TypeError, AttributeError):
            _fail(f"a value is not of type {kind}; remove its tag", node.start_mark)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """Construct a mapping; refuse a repeated key, which YAML would silently replace."""
        seen = set()
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            if isinstance(key, yaml.ScalarNode) and key.tag != f"{_TAG}merge":
                if key.value in seen:
                    _fail(f"{key.value[:80]} is written twice; keep one of them", key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep=deep)


def _fail(problem: str, mark: Any) -> NoReturn:
    raise ConstructorError(None, None, problem, mark)


def _format(failure: yaml.YAMLError) -> str:
    """Format the problem and its place on one line; YAML itself takes six."""
    mark = getattr(failure, "problem_mark", None)
    if mark is None:
        return " ".join(str(failure).split())[:200]
    problem = str(getattr(failure, "problem", ""))[:200]
    context = getattr(failure, "context", None)
    text = f"line {mark.line + 1}, column {mark.column + 1}: {problem}"
    return f"{text} ({str(context)[:200]})" if context else text
