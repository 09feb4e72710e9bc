"""The page on scaling rules: its commands and its code print what stands below them."""

import re
from pathlib import Path

import pytest

from cmt_search.cli import invoke

PAGE = Path(__file__).parents[2] / "docs" / "scaling.md"
TEXT = PAGE.read_text(encoding="utf-8")
CODE = re.findall(r"^```python\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
CONSOLE = re.findall(r"^```console\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
SHOWN: dict[str, list[str]] = {}
for _part in (part for block in CONSOLE for part in block.split("$ cmt-search ")[1:]):
    _command, *_lines = _part.splitlines()
    SHOWN.setdefault(_command, []).extend(_lines)
# `print(...)  # text`, or lines of comments below a print in a loop.
PRINTED = re.compile(r"^(?:print\(.*\)  )?# (.*)$", re.MULTILINE)


def cells(line: str) -> str:
    """A line without the rules of a table."""
    return " ".join(re.sub("[│┃]", " ", line).split())


@pytest.mark.parametrize("code", CODE)
def test_the_code_prints_what_the_page_says(code: str, capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(code, str(PAGE), "exec"), {"__name__": "page"})
    assert capsys.readouterr().out.splitlines() == PRINTED.findall(code)


@pytest.mark.parametrize("command", SHOWN)
def test_the_commands_print_what_the_page_says(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke(command.split()) == 0
    printed = [cells(line) for line in capsys.readouterr().out.splitlines()]
    assert SHOWN[command]
    for line in SHOWN[command]:
        assert any(line in whole for whole in printed), line


def test_the_page_has_a_command_or_code_for_every_discrepancy_of_the_paper() -> None:
    part = TEXT.split("## The paper's numbers")[1].split("\n## ")[0]
    claims = re.findall(r"^\*\*", part, re.MULTILINE)
    assert len(claims) == 5
    assert all("```" in claim for claim in re.split(r"^\*\*", part, flags=re.MULTILINE)[1:])
