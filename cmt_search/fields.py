"""Constraints of field values, stated once in their type annotations.

`Annotated[float, Interval(gt=0, le=1)]` is enforced by pydantic in values from files and by
`check_fields` in values made in Python; `describe` writes it out for messages and the reference.
"""

import dataclasses
import math
import types
from collections.abc import Callable
from functools import cache
from typing import Annotated, Any, Literal, Union, cast, get_args, get_origin

from annotated_types import Interval, Len

from cmt_search.errors import CmtSearchError, SpaceError, brief

Fraction = Annotated[float, Interval(ge=0, le=1)]
BelowOne = Annotated[float, Interval(ge=0, lt=1)]


def check_fields(
    value: object, *, where: str = "", error: type[CmtSearchError] = SpaceError
) -> None:
    """Check the fields of a dataclass against their annotations.

    Raises:
        CmtSearchError: of type `error`, names the field and the values that it takes.
    """
    for name, hint, is_valid in _checks(cast(Any, type(value))):
        given = getattr(value, name)
        if not is_valid(given):
            raise error(f"{where}{name}={brief(given)} is not possible; use {describe(hint)}")


def describe(hint: Any) -> str:
    """Describe the values that an annotation allows: `a number above 0 and at most 1`."""
    origin, args = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return f"{describe(args[0])} {_describe_bound(args[-1])}"
    if origin in (Union, types.UnionType):
        return " or ".join(map(describe, args))
    if origin is Literal:
        return ", ".join(map(str, args[:-1])) + f" or {args[-1]}" if args[1:] else str(args[0])
    if origin is tuple:
        count = "" if args[-1] is Ellipsis else f" of {len(args)}"
        return f"a list{count}, each {describe(args[0])}"
    names = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}
    return names.get(hint, "null" if hint is types.NoneType else "a mapping")


def _describe_bound(bound: Any) -> str:
    if isinstance(bound, Len):
        least, most = bound.min_length, bound.max_length
        return f"(length {least} to {most})" if most else f"(length at least {least})"
    ends = {"of at least": bound.ge, "above": bound.gt, "at most": bound.le, "below": bound.lt}
    texts = [f"{word} {_number(end)}" for word, end in ends.items() if end is not None]
    if bound.ge is not None and bound.le is not None:
        return f"from {_number(bound.ge)} to {_number(bound.le)}"
    return " and ".join(texts)


def _number(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"


@cache
def _checks(cls: Any) -> tuple[tuple[str, Any, Callable[[Any], bool]], ...]:
    return tuple((f.name, f.type, _check_of(f.type)) for f in dataclasses.fields(cls))


def _check_of(hint: Any) -> Callable[[Any], bool]:
    """Compile an annotation into a predicate."""
    origin, args = get_origin(hint), get_args(hint)
    if origin is Annotated:
        is_type, (is_bounded,) = _check_of(args[0]), map(_check_of_bound, args[1:])
        return lambda value: is_type(value) and is_bounded(value)
    if origin in (Union, types.UnionType):
        options = tuple(map(_check_of, args))
        return lambda value: any(check(value) for check in options)
    if origin is Literal:
        return lambda value: value in args
    if origin is tuple:
        return _check_of_tuple(args)
    if hint is float:
        return lambda value: (
            isinstance(value, (int, float))
            and not isinstance(value, bool)
            and -math.inf < value < math.inf
        )
    if hint is int:
        return lambda value: isinstance(value, int) and not isinstance(value, bool)
    return lambda value: isinstance(value, hint)


def _check_of_tuple(args: tuple[Any, ...]) -> Callable[[Any], bool]:
    items = tuple(_check_of(arg) for arg in args if arg is not Ellipsis)
    if args[-1] is Ellipsis:
        return lambda value: isinstance(value, tuple) and all(map(items[0], value))
    return lambda value: (
        isinstance(value, tuple)
        and len(value) == len(items)
        and all(check(item) for check, item in zip(items, value, strict=True))
    )


def _check_of_bound(bound: Any) -> Callable[[Any], bool]:
    if isinstance(bound, Len):
        return lambda value: bound.min_length <= len(value) <= (bound.max_length or len(value))
    low = bound.ge if bound.gt is None else math.nextafter(bound.gt, math.inf)
    high = bound.le if bound.lt is None else math.nextafter(bound.lt, -math.inf)
    low, high = (-math.inf if low is None else low), (math.inf if high is None else high)
    return lambda value: low <= value <= high
