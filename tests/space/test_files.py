"""The space files that come with the project load, and say what they are."""

from itertools import takewhile
from pathlib import Path

import pytest

from cmt_search.space import load_space, parse_space

FOLDER = Path(__file__).parents[2] / "search_spaces"
FILES = sorted(FOLDER.glob("*.yaml"))


def test_every_kind_of_search_has_an_example_file() -> None:
    names = {"quickstart.yaml", "cmt_rule.yaml", "cmt_shape.yaml", "cmt_pareto.yaml"}
    assert names <= {f.name for f in FILES}
    assert {load_space(f).kind for f in FILES} == {"rule", "shape", "pareto"}


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.name))
def test_a_file_loads_and_survives_being_written_out(file: Path) -> None:
    space = load_space(file)
    assert parse_space(space.to_yaml(), source="again") == space


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.name))
def test_a_file_begins_with_a_header_that_names_its_command(file: Path) -> None:
    lines = file.read_text(encoding="utf-8").splitlines()
    header = list(takewhile(lambda line: line.startswith("#"), lines))
    assert header, "begin with a comment: what, cost, hours, command"
    assert f"search_spaces/{file.name}" in "\n".join(header)


def test_the_quick_start_is_as_small_as_the_readme_says() -> None:
    space = load_space(FOLDER / "quickstart.yaml")
    base = space.arch.resolution
    assert space.kind == "rule"
    assert space.base.preset == "cmt_pico"
    assert space.proxy.dataset.root is None
    assert 2 * base <= space.proxy.dataset.native_resolution
    assert 2 <= len(space.budget_macs) <= 3
