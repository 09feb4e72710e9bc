"""The pages say what is: the reference follows the code, and the tutorial's commands run."""

import re
import runpy
import shlex
from pathlib import Path

import pytest

from cmt_search.cli import invoke

DOCS = Path(__file__).parents[1] / "docs"


def test_the_reference_is_what_the_code_says() -> None:
    pages = runpy.run_path(str(DOCS / "reference_pages.py"))["pages"]()
    for name, text in pages.items():
        kept = (DOCS / "reference" / name).read_text(encoding="utf-8")
        assert kept == text, f"docs/reference/{name} is old; run `make docs`"


def test_every_page_is_in_the_navigation() -> None:
    listed = (DOCS.parent / "mkdocs.yml").read_text(encoding="utf-8")
    for page in DOCS.rglob("*.md"):
        assert str(page.relative_to(DOCS)) in listed


def test_the_tutorial_runs_from_its_first_line_to_its_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (DOCS / "tutorial.md").read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```(\w+)(?: title=\"(.*?)\")?\n(.*?)```", text, flags=re.DOTALL)
    assert {kind for kind, _, _ in blocks} == {"yaml", "console", "python"}
    for kind, title, code in blocks:
        if kind == "yaml":
            (tmp_path / title).write_text(code)
        elif kind == "python":
            exec(compile(code, "docs/tutorial.md", "exec"), {})
        else:
            for line in code.splitlines():
                program, *arguments = shlex.split(line.removeprefix("$ "))
                assert program == "cmt-search"
                assert invoke(arguments) == 0, line
    out = capsys.readouterr().out
    assert "torch.Size([1, 10])" in out
    assert "cmt-paper-B" in out
    assert re.search(r"(Unresolved|Tie|Resolved|No verdict)", out)
