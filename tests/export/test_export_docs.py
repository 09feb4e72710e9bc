"""The page on export: its code runs, and prints what it says."""

import re
import shlex
import sys
from pathlib import Path

import pytest

from cmt_search.cli.app import build_app
from cmt_search.export import FORMATS, SCHEMAS, STUDY_FORMATS
from cmt_search.export.verify import TOLERANCE
from cmt_search.presets import PRESETS

PAGE = Path(__file__).parents[2] / "docs" / "export.md"
TEXT = PAGE.read_text(encoding="utf-8")
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PRINTED = re.compile(r"^ *(?:print\(.*\)  )?# (.*)$", re.MULTILINE)


def test_the_code_of_the_page_prints_what_the_page_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    blocks = list(BLOCK.finditer(TEXT))
    assert len(blocks) == 4
    try:
        for block in blocks:
            before = TEXT.count("\n", 0, block.start(1))  # so that errors name the page's line
            capsys.readouterr()
            code = compile("\n" * before + block[1], str(PAGE), "exec")
            exec(code, {"__name__": "page"})
            assert capsys.readouterr().out.splitlines() == PRINTED.findall(block[1])
    finally:
        sys.modules.pop("pico", None)


def test_the_commands_of_the_page_are_ones_that_export_takes() -> None:
    import typer.main

    command = typer.main.get_command(build_app()).commands["export"]  # type: ignore[attr-defined]
    lines = re.findall(r"^\$ cmt-search export (.*)$", TEXT, re.MULTILINE)
    assert len(lines) == 6
    for line in lines:
        words = shlex.split(line, comments=True)
        given = command.make_context("export", words).params
        names = (given["formats"] or "yaml").split(",")
        assert set(names) <= {*FORMATS, *STUDY_FORMATS, "all"}
        assert str(given["run"]) in ("runs/quickstart", "models/cmt_s.onnx", *PRESETS)


def test_the_page_names_every_format_file_and_the_tolerance() -> None:
    for name in FORMATS:
        assert re.search(rf"^\| `{name}` \|", TEXT, re.MULTILINE), name
    for name, how in STUDY_FORMATS.items():
        assert f"`{name}`" in TEXT
        assert f"`{how.file}`" in TEXT
    for name in SCHEMAS:
        assert f"schema/{name}" in TEXT
        assert (PAGE.parent / "schema" / name).exists()
    assert f"within {TOLERANCE:.0e}".replace("e-04", "e-4") in TEXT
