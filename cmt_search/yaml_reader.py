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
_PLAIN = [_TAG + name for name in ("null", "bool", "int", "float", "str", "seq", "map")]


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
        data = yaml.load(text, Loader=_Loader)  # noqa: S506 - derives from SafeLoader
    except yaml.YAMLError as failure:
        raise error(f"{source}: invalid YAML: {_format(failure)}") from None
    if not isinstance(data, dict):
        raise error(f"{source}: holds no mapping; begin with {begin}")
    return data


class _Loader(yaml.SafeLoader):
    """Constructs null, booleans, numbers, text, lists and mappings only, within the limits."""

    # Without timestamps: a date is text.
    yaml_implicit_resolvers: ClassVar = {  # type: ignore[misc]
        first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith("timestamp")]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    yaml_constructors: ClassVar = {
        tag: constructor
        for tag, constructor in yaml.SafeLoader.yaml_constructors.items()
        if tag in _PLAIN or tag is None
    }

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._nodes = 0
        self._depth = 0
        self._sizes: dict[str, int] = {}  # nodes by anchor

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Compose a node, and count it; an alias counts as its whole value."""
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent):
            if event.anchor in self.anchors and event.anchor not in self._sizes:
                _fail(f"*{event.anchor} contains itself; write it out", event.start_mark)
            self._count(self._sizes.get(event.anchor or "", 0), event.start_mark)
            return super().compose_node(parent, index)
        before = self._nodes
        self._count(1, event.start_mark)
        self._depth += 1
        if self._depth > MAX_DEPTH:
            _fail(f"is nested deeper than {MAX_DEPTH} levels; simplify it", event.start_mark)
        node = super().compose_node(parent, index)
        self._depth -= 1
        if event.anchor is not None:
            self._sizes[event.anchor] = self._nodes - before
        return node

    def _count(self, nodes: int, mark: Any) -> None:
        self._nodes += nodes
        if self._nodes > MAX_NODES:
            _fail(f"holds more than {MAX_NODES:,} values; shorten it", mark)

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """Construct a value; one that its tag does not allow is an error with its place."""
        kind = node.tag.removeprefix(_TAG)
        if kind in ("int", "float") and len(str(node.value)) > MAX_DIGITS:
            _fail(f"a number has more than {MAX_DIGITS} digits; write fewer", node.start_mark)
        try:
            return super().construct_object(node, deep=deep)
        except (ValueError, LookupError, TypeError, AttributeError):
            _fail(f"a value is not of type {kind[:80]}; remove its tag", node.start_mark)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """Construct a mapping; refuse a repeated key, which YAML would silently replace."""
        seen = set()
        for key, _ in node.value:
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
