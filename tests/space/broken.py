"""Space files to break, and how their errors are asserted."""

import pytest

from cmt_search.errors import SpaceError
from cmt_search.space import parse_space

RULE = """
kind: rule
base: {preset: cmt_pico}
budgets: {times_base: [3]}
"""
PARETO = """
kind: pareto
base: {preset: cmt_pico}
trials: 5
knobs: {depth: {min: 4, max: 12}, width: {min: 4, max: 16}}
"""


def says(text: str, *messages: str) -> None:
    """Parsing fails with exactly these lines, each after the name of the file."""
    with pytest.raises(SpaceError) as caught:
        parse_space(text, source="my/space.yaml")
    assert str(caught.value).splitlines() == [f"my/space.yaml: {m}" for m in messages]
