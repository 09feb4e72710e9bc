"""Commands are imported when they are called, and what they refuse, they refuse at once."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from cmt_search.cli import invoke
from cmt_search.cli.app import _COMMANDS, build_app
from tests.runs import finish_run

LIBRARIES = {"torch", "timm", "ray", "pandas", "plotly", "dash", "sklearn", "scipy"}
SEARCH = LIBRARIES | {"optuna", "sqlalchemy"}
PARSERS = SEARCH | {"numpy", "pydantic", "yaml", "rich.console", "cmt_search.space"}
ON_SPACES = ("validate", "run", "calibrate")
ON_RUNS = ("status", "resume", "report", "inspect", "confirm", "family", "export", "runs")


def imported(*lines: tuple[str, ...], among: set[str] = SEARCH) -> dict[str, object]:
    """Return, by command line, its exit code and what it was the first to import of `among`."""
    code = (
        "import json, sys\n"
        "from cmt_search.cli import invoke\n"
        f"among, seen, results = {among!r}, set(), {{}}\n"
        f"for words in {lines!r}:\n"
        "    code = invoke(words)\n"
        "    new = among & set(sys.modules) - seen\n"
        "    seen |= new\n"
        "    results[' '.join(words)] = [code, sorted(new)]\n"
        "print(json.dumps(results), file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return dict(json.loads(done.stderr.splitlines()[-1]))


def test_help_imports_the_parser_alone() -> None:
    assert imported(("--help",), among=PARSERS) == {"--help": [0, []]}


def test_what_is_missing_or_broken_is_refused_before_heavy_imports(tmp_path: Path) -> None:
    missing, broken, run = (str(tmp_path / name) for name in ("no.yaml", "broken.yaml", "run"))
    Path(broken).write_text("kind: [")
    lines = [(command, file) for command in ON_SPACES for file in (missing, broken)]
    lines += [(command, run) for command in ON_RUNS]
    results = imported(*lines)
    assert results == {" ".join(words): [2, []] for words in lines}


def test_costs_are_computed_without_libraries() -> None:
    lines = [("rules",), ("profile", "cmt_pico")]
    assert imported(*lines) == {"rules": [0, []], "profile cmt_pico": [0, []]}


def test_status_reads_a_study_with_optuna_alone(tmp_path: Path) -> None:
    run = finish_run(tmp_path, "macs")
    words = ("status", str(run))
    assert imported(words, among=LIBRARIES) == {" ".join(words): [0, []]}


def test_the_parsers_of_all_commands_import_no_library() -> None:
    group = "typer.main.get_command(build_app())"
    code = (
        "import sys, typer\nfrom cmt_search.cli.app import build_app\n"
        f"for command in {group}.commands.values(): command.help\n"
        f"print(sorted(set(sys.modules) & {SEARCH!r}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_group_knows_every_command() -> None:
    group = typer.main.get_command(build_app())
    context = typer.Context(group)
    assert list(group.list_commands(context)) == list(_COMMANDS)  # type: ignore[attr-defined]
    for name in _COMMANDS:
        command = group.get_command(context, name)  # type: ignore[attr-defined]
        assert command.name == name
        assert command.help


@pytest.mark.parametrize(
    ("typed", "meant"), [("search", "run"), ("plan", "validate"), ("statsu", "status")]
)
def test_a_wrong_command_is_answered_with_the_right_one(
    typed: str, meant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke([typed, "x"]) == 2
    assert f"Did you mean '{meant}'?" in capsys.readouterr().err
