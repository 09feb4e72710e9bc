"""Constraints of field values, stated once in their type annotations.

`Annotated[float, Interval(gt=0, le=1)]` is enforced by pydantic in values from files and by
`check_fields` in values made in Python; `describe` writes it out for messages and the reference.
"""

import dataclasses
import math
import operator
import types
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
    for field in dataclasses.fields(cast(Any, value)):
        given, hint = getattr(value, field.name), field.type
        if not _is_valid(given, hint):
            raise error(f"{where}{field.name}={brief(given)} is not possible; use {describe(hint)}")


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


def _is_valid(value: Any, hint: Any) -> bool:
    origin, args = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _is_valid(value, args[0]) and _is_within(value, args[1])
    if origin in (Union, types.UnionType):
        return any(_is_valid(value, option) for option in args)
    if origin is Literal:
        return value in args
    if origin is tuple:
        if not isinstance(value, tuple):
            return False
        hints = args[:1] * len(value) if args[-1] is Ellipsis else args
        return len(value) == len(hints) and all(map(_is_valid, value, hints))
    if hint is float:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return is_number and -math.inf < value < math.inf
    return isinstance(value, hint) and not (hint is int and isinstance(value, bool))


def _is_within(value: Any, bound: Interval | Len) -> bool:
    if isinstance(bound, Len):
        return bound.min_length <= len(value) <= (bound.max_length or math.inf)
    ends = (
        (operator.gt, bound.gt),
        (operator.ge, bound.ge),
        (operator.lt, bound.lt),
        (operator.le, bound.le),
    )
    return all(end is None or compare(value, end) for compare, end in ends)
