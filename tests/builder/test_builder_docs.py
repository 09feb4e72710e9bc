"""The page for timm users: its code runs, and prints what it says."""

import re
from dataclasses import fields
from pathlib import Path

import pytest
import torch

from cmt_search.arch import Arch, Stage
from cmt_search.cost import cost
from cmt_search.presets import PRESETS

PAGE = Path(__file__).parents[2] / "docs" / "builder.md"
BLOCK = re.compile(r"^(<!-- not run: .+ -->\n)?```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# `print(...)  # text`, or lines of comments below a print in a loop.
PRINTED = re.compile(r"^ *(?:print\(.*\)  )?# (.*)$", re.MULTILINE)


def sections() -> dict[str, str]:
    """The parts of the page that have code, by heading; before each, its lines are kept blank."""
    text = PAGE.read_text(encoding="utf-8")
    starts = [match.start() for match in re.finditer(r"^## ", text, re.MULTILINE)]
    parts = {}
    for start, end in zip(starts, [*starts[1:], len(text)], strict=True):
        part = "\n" * text.count("\n", 0, start) + text[start:end]
        if BLOCK.search(part):
            parts[part.strip().splitlines()[0].removeprefix("## ")] = part
    return parts


SECTIONS = sections()
SLOW = {"Inference"}  # compiles, and writes ONNX


@pytest.mark.parametrize(
    "heading", [pytest.param(h, marks=[pytest.mark.slow] * (h in SLOW)) for h in SECTIONS]
)
def test_the_code_of_the_page_prints_what_the_page_says(
    heading: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    part, names = SECTIONS[heading], {"__name__": "page"}
    ran = 0
    for block in BLOCK.finditer(part):
        marked, code = block.groups()
        if marked:
            continue
        if "onnx" in code:
            pytest.importorskip("onnxscript")
            pytest.importorskip("onnxruntime")
        before = part.count("\n", 0, block.start(2))  # so that errors name the page's line
        capsys.readouterr()
        exec(compile("\n" * before + code, str(PAGE), "exec"), names)
        assert capsys.readouterr().out.splitlines() == PRINTED.findall(code)
        ran += 1
    assert ran, f"{heading}: no block runs"


def test_only_downloads_are_not_run() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert text.count("```python\n") == len(BLOCK.findall(text))
    skipped = [code for marked, code in BLOCK.findall(text) if marked]
    assert len(skipped) == text.count("not run:") == 1
    assert all("create_model" in line for line in skipped[0].splitlines()[3:])
    assert skipped[0].count("pretrained=True") == 3


@pytest.mark.parametrize("name", ["cmt_ti", "cmt_xs", "cmt_s", "cmt_b"])
def test_the_table_of_networks_states_their_sizes(name: str) -> None:
    arch = PRESETS[name]
    params, macs = f"{cost(arch).params / 1e6:.2f} M", f"{cost(arch).macs / 1e9:.2f} G"
    row = f"| `{name}` | {arch.resolution} px | {params} | {macs} |"
    assert row in PAGE.read_text(encoding="utf-8")


@pytest.mark.parametrize("of", [Arch, Stage])
def test_the_page_names_every_option_of_a_network(of: type) -> None:
    for field in fields(of):
        if field.name != "stages":
            assert f"`{field.name}`" in SECTIONS["Your own network"], field.name


def test_the_page_names_the_oldest_timm_that_the_package_takes() -> None:
    project = (PAGE.parents[1] / "pyproject.toml").read_text(encoding="utf-8")
    oldest = re.search(r'"timm>=([\d.]+)[",]', project)
    assert oldest is not None
    assert f"| {oldest[1]} or later |" in PAGE.read_text(encoding="utf-8")
