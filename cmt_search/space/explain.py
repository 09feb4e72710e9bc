"""Errors of pydantic as `SpaceError`, with key path and remedy."""

import types
from collections.abc import Iterator, Mapping
from dataclasses import is_dataclass
from functools import cache
from itertools import chain
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from cmt_search.errors import SpaceError, brief, closest_match, suggestion
from cmt_search.fields import describe

_MOST_LINES = 20  # of a message
_ITEM = 0  # key of the items of a list
_RENAMED = {  # keys of earlier space files, too different from their successors to be guessed
    "ladder": "fidelities",
    "halving": "reduction_factor",
    "population": "initial_points",
    "keep": "fixed",
    "error": "threshold",
}


def space_error(failure: ValidationError, model: type[BaseModel], *, source: str) -> SpaceError:
    """Return the error that names `source`, the key paths, the problems and their remedies."""
    errors = failure.errors(include_url=False, include_context=False)
    problems = [_explain(error, model) for error in errors[: 10 * _MOST_LINES]]
    paths = [path for path, _ in problems]
    lines = list(
        dict.fromkeys(
            f"{path}: {problem}" if path else problem
            for path, problem in problems
            # Without those of the other branch of a union.
            if problem and not any(p.startswith((f"{path}.", f"{path}[")) for p in paths)
        )
    )
    if len(errors) > 10 * _MOST_LINES or len(lines) > _MOST_LINES:
        lines = [*lines[:_MOST_LINES], f"and further errors ({len(errors):,} in all)"]
    return SpaceError("\n".join(f"{source}: {line}" for line in lines))


def _explain(error: ErrorDetails, model: type[BaseModel]) -> tuple[str, str]:
    """Return the key path of a pydantic error, and the problem with its remedy.

    Without a problem: a mapping or list, refused as the number that a union also allows.
    """
    loc, kind, given = error["loc"], error["type"], error["input"]
    last = loc[-1] if loc else ""
    parent_path, parent = _resolve(model, loc[:-1])
    if kind in ("extra_forbidden", "unexpected_keyword_argument"):
        return _join(parent_path, str(last)[:80]), f"is unknown; {_known_keys(str(last), parent)}"
    if kind == "invalid_key":
        return _join(parent_path, brief(last)), "is not a name; remove it"
    if kind.startswith("missing"):
        return _join(parent_path, str(last)), "is missing; add it"
    path, hint = _resolve(model, loc)
    if kind == "value_error":
        return path, error["msg"].removeprefix("Value error, ")[:1000]
    if last in ("constrained-float", "constrained-int") and isinstance(given, Mapping | list):
        return path, ""
    if kind == "literal_error" and isinstance(given, str):
        choices = [str(choice) for option in _options(hint) for choice in get_args(option)]
        return path, f"{brief(given)} is unknown; {suggestion(given, choices)}"
    leave_out = ", or leave it out" if given is None and last not in _required(parent) else ""
    return path, f"{_yaml_value(given)} is not possible; use {describe(hint)}{leave_out}"


def _known_keys(key: str, parent: Any) -> str:
    """Return the remedy for an unknown key: the one that was meant, or all."""
    names = [str(name) for name in _children(parent)]
    renamed = _RENAMED.get(key)
    match = renamed if renamed in names else closest_match(key, names)
    return f"did you mean {match}?" if match else f"use {', '.join(names)}"


def _yaml_value(value: object) -> str:
    """Write a value for a message as the file does."""
    words = {"None": "null", "True": "true", "False": "false"}
    return words.get(repr(value), brief(value))


def _resolve(model: Any, loc: tuple[int | str, ...]) -> tuple[str, Any]:
    """Return the key path of an error and its annotation.

    Labels of unions, which pydantic adds to the location, are left out.
    """
    path, hint = "", model
    for part in loc:
        child = _children(hint).get(_ITEM if isinstance(part, int) else part)
        if child is not None:
            path, hint = _join(path, part), child
    return path, hint


def _join(path: str, part: int | str) -> str:
    if isinstance(part, int):
        return f"{path}[{part}]"
    return f"{path}.{part}" if path else part


@cache
def _children(hint: Any) -> dict[int | str, Any]:
    """Return the annotations of a section's keys, or that of a list's items."""
    children: dict[int | str, Any] = {}
    for option in _options(hint):
        if get_origin(option) is tuple:
            children[_ITEM] = get_args(option)[0]
        elif isinstance(option, type) and (is_dataclass(option) or issubclass(option, BaseModel)):
            hints = get_type_hints(option, include_extras=True)
            children |= {name: hints[name] for name in hints if not name.startswith("_")}
    return children


def _required(hint: Any) -> set[str]:
    """Return the keys of a section that have no default."""
    fields = chain.from_iterable(
        getattr(option, "model_fields", {}).items() for option in _options(hint)
    )
    return {name for name, field in fields if field.is_required()}


def _options(hint: Any) -> Iterator[Any]:
    """Yield the members of a union, without their constraints."""
    if get_origin(hint) is Annotated:
        yield from _options(get_args(hint)[0])
    elif get_origin(hint) in (Union, types.UnionType):
        for option in get_args(hint):
            yield from _options(option)
    else:
        yield hint
