"""The page on scaling rules: its commands and its code print what stands below them."""

import re
from pathlib import Path

import pytest

from cmt_search.cli import invoke

PAGE = Path(__file__).parents[2] / "docs" / "scaling.md"
TEXT = PAGE.read_text(encoding="utf-8")
CODE = re.findall(r"^```python\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
CONSOLE = re.findall(r"^```console\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
COMMANDS = [part for block in CONSOLE for part in block.split("$ cmt-search ")[1:]]
# `print(...)  # text`, or lines of comments below a print in a loop.
PRINTED = re.compile(r"^(?:print\(.*\)  )?# (.*)$", re.MULTILINE)


def cells(line: str) -> str:
    """A line without the rules of a table."""
    return " ".join(re.sub("[│┃]", " ", line).split())


@pytest.mark.parametrize("code", CODE)
def test_the_code_prints_what_the_page_says(code: str, capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(code, str(PAGE), "exec"), {"__name__": "page"})
    assert capsys.readouterr().out.splitlines() == PRINTED.findall(code)


@pytest.mark.parametrize("part", COMMANDS)
def test_the_commands_print_what_the_page_says(
    part: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command, *shown = part.splitlines()
    assert invoke(command.split()) == 0
    printed = [cells(line) for line in capsys.readouterr().out.splitlines()]
    assert shown
    for line in shown:
        assert any(line in whole for whole in printed), line


def test_the_page_has_a_command_or_code_for_every_discrepancy_of_the_paper() -> None:
    part = TEXT.split("## The paper's numbers")[1].split("\n## ")[0]
    claims = re.findall(r"^\*\*", part, re.MULTILINE)
    assert len(claims) == 5
    assert all("```" in claim for claim in re.split(r"^\*\*", part, flags=re.MULTILINE)[1:])
