"""Every YAML block of the page on searching is a space file that loads."""

import re
from pathlib import Path
from typing import get_args

import pytest

from cmt_search.space import parse_space
from cmt_search.space.candidates import SAMPLERS, SamplerName

PAGE = (Path(__file__).parents[2] / "docs" / "search.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```yaml\n(.*?)```", PAGE, flags=re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS)
def test_every_space_in_the_docs_loads(block: str) -> None:
    space = parse_space(block, source="docs/search.md")
    assert space.candidate({p.name: p.at(0.4) for p in space.parameters()}).rungs


def test_all_kinds_and_samplers_are_on_the_page() -> None:
    kinds = {parse_space(block, source="docs/search.md").kind for block in BLOCKS}
    assert kinds == {"rule", "shape", "pareto"}
    table = PAGE.partition("## Samplers")[2]
    assert all(f"`{name}`" in table for name in SAMPLERS)
    assert set(get_args(SamplerName)) == set(SAMPLERS)
