"""What a newcomer types first works, or is answered with what to type instead."""

from pathlib import Path
from typing import Any

import pytest
import typer

from cmt_search.cli import invoke
from cmt_search.cli.options import find_exportable, find_run, find_runs
from cmt_search.errors import RunError
from tests.messages import mentions


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with two runs in ./runs."""
    for name in ("a", "b"):
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "run.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "runs"


def test_a_run_is_found_by_its_name(runs: Path) -> None:
    assert find_run(Path("a")) == Path("runs/a")
    assert find_run(Path("runs/a")) == Path("runs/a")
    assert find_run(runs / "b") == runs / "b"
    assert find_exportable(Path("a")) == Path("runs/a")
    assert find_exportable(Path("cmt_pico")) == Path("cmt_pico")
    with pytest.raises(RunError, match="runs/c"):
        find_run(Path("runs/c"))


def test_a_folder_of_runs_stands_for_all_of_them(runs: Path) -> None:
    assert find_runs([Path("runs")]) == [Path("runs/a"), Path("runs/b")]
    assert find_runs([Path("b"), runs / "a"]) == [Path("runs/b"), runs / "a"]


@pytest.mark.usefixtures("runs")
def test_commands_take_the_name_of_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Any] = []

    def load_study(path: Path, **_: Any) -> None:
        opened.append(path)
        raise typer.Exit(2)

    monkeypatch.setattr("cmt_search.study.load_study", load_study)
    assert invoke(["report", "a"]) == 2
    assert opened == [Path("runs/a")]


def test_rules_without_options_lists_the_catalogue(capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["rules"]) == 0
    assert mentions(capsys.readouterr().out, "Rules around cmt_s ... cmt-paper")


@pytest.mark.parametrize(("budgets", "meant"), [("50", "50M"), ("4M,8", "8M"), ("0.6", "0.6G")])
def test_a_budget_without_its_unit_is_answered_with_one(
    budgets: str, meant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke(["rules", "--base", "cmt_pico", "--budgets", budgets]) == 2
    assert mentions(capsys.readouterr().err, f"--budgets ... did you mean {meant}?")
