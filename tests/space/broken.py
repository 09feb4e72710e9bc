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


def says(text: str, *problems: str) -> None:
    """Parsing fails with a line per problem: file, key path, and words of the remedy."""
    with pytest.raises(SpaceError) as caught:
        parse_space(text, source="my/space.yaml")
    lines = str(caught.value).splitlines()
    assert len(lines) == len(problems), lines
    for line, problem in zip(lines, problems, strict=True):
        path, _, words = problem.partition(": ")
        assert line.startswith(f"my/space.yaml: {path}"), line
        assert words in line, line
