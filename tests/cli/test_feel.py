"""Names that are nearly right, options of every command, and what the shell proposes."""

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import typer

from cmt_search.cli import invoke
from cmt_search.cli.app import build_app
from cmt_search.cli.completing import exportable, formats_or_all, rules_list, runs_beside, variants
from cmt_search.cli.console import command, is_quiet, quietly
from cmt_search.cli.earlier import aside
from cmt_search.errors import CmtSearchError, suggestion
from cmt_search.family import solve_family
from cmt_search.space import load_space
from tests.messages import mentions

QUICKSTART = Path(__file__).parents[2] / "search_spaces" / "quickstart.yaml"


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with three runs, as far as their names go."""
    monkeypatch.chdir(tmp_path)
    for name in ("runs/first", "runs/second", "third"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "run.json").write_text("{}")
    return tmp_path


@pytest.mark.parametrize("name", ["status", "resume", "family", "confirm"])
def test_a_mistyped_run_is_recognised(
    name: str, runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke([name, "runs/frist"]) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: ")
    assert mentions(told, "runs/frist ... did you mean runs/first?")
    assert invoke([name, "runs/xyzzy"]) == 2
    assert mentions(capsys.readouterr().err, "runs/xyzzy ... `cmt-search run`")


def test_words_are_near_whatever_their_case() -> None:
    assert suggestion("ONNX", ("yaml", "onnx")) == "did you mean onnx? Known are yaml, onnx"
    assert suggestion("best-s", ("best-S", "all")) == "did you mean best-S? Known are best-S, all"
    assert suggestion("gguf", ("yaml", "onnx", "yaml")) == "use yaml, onnx"


@pytest.mark.parametrize(
    ("rule", "base", "message"),
    [
        (
            "cmt-papre",
            "cmt_s",
            "rule 'cmt-papre' ... did you mean cmt-paper? Known",
        ),
        ("golden", "cmt_s", "rule 'golden' ... use best, least-activations, "),
        ("dwr", "cmt_piko", "base 'cmt_piko' ... did you mean cmt_pico? Known are run, "),
    ],
)
def test_a_mistyped_rule_or_base_is_recognised(rule: str, base: str, message: str) -> None:
    analysis: Any = SimpleNamespace(verdict=None, named={})
    with pytest.raises(CmtSearchError) as caught:
        solve_family(
            rule, labels={1e9: "1G"}, base=base, analysis=analysis, space=load_space(QUICKSTART)
        )
    assert mentions(str(caught.value), message)


def test_a_file_that_is_written_anew_is_kept_under_a_number(tmp_path: Path) -> None:
    file = tmp_path / "family.yaml"
    for text in ("one", "one", "two", "three"):
        with aside(file) as kept:
            file.write_text(text)
        assert kept is None or kept.exists() == (text != "one")
    names = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert names == {"family.yaml": "three", "family.yaml.1": "one", "family.yaml.2": "two"}


def test_a_file_that_could_not_be_written_is_not_kept_twice(tmp_path: Path) -> None:
    file = tmp_path / "family.yaml"
    file.write_text("one")
    with pytest.raises(OSError, match="full"), aside(file):
        raise OSError("full")
    assert [path.name for path in tmp_path.iterdir()] == ["family.yaml"]


@pytest.mark.parametrize("name", ["../evil", "a/b", "/tmp/evil", "..", ".", "", "a\\b"])
@pytest.mark.parametrize("words", [["run"], ["calibrate"]])
def test_a_run_s_name_does_not_lead_elsewhere(
    words: list[str], name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [str(QUICKSTART), "--runs", str(tmp_path / "runs"), "--name", name]
    assert invoke([*words, *given]) == 2
    assert mentions(capsys.readouterr().err, f"--name {name!r} ... give one without")
    assert not list(tmp_path.iterdir())


def test_a_folder_of_runs_needs_a_name_and_has_one_by_default(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert invoke(["run", str(QUICKSTART), "--runs", ""]) == 2
    assert mentions(capsys.readouterr().err, "--runs ... write . for the folder that you are in")
    group: Any = typer.main.get_command(build_app())
    given = group.commands["run"].make_context("run", [str(QUICKSTART)]).params
    assert given["runs"] == Path("runs")


@pytest.mark.parametrize("words", [["validate"], ["run"]])
def test_a_device_that_cannot_be_is_refused_everywhere(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke([*words, str(QUICKSTART), "--device", "cudaa"]) == 2
    assert mentions(capsys.readouterr().err, "--device 'cudaa' ... did you mean cuda? Known are")


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["--version"]) == 0
    assert capsys.readouterr().out == f"cmt-search {version('cmt-search')}\n"


def test_debug_and_quiet_may_stand_behind_the_command(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="neither a preset nor a file"):
        invoke(["profile", "nothing", "--debug"])
    assert invoke(["new", str(tmp_path / "a.yaml"), "--quiet"]) == 0
    assert not is_quiet()


def test_behind_two_dashes_nothing_is_an_option(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert invoke(["-q", "new", "--", "--debug"]) == 0
    assert capsys.readouterr().out == "--debug\n"
    assert (tmp_path / "--debug").exists()


def test_quiet_ends_with_its_command() -> None:
    with quietly(True):
        assert is_quiet()
    assert not is_quiet()


def test_a_command_can_be_pasted_whatever_the_names_are() -> None:
    assert command("resume", Path("my run"), "--retry-failed") == (
        "cmt-search resume 'my run' --retry-failed"
    )
    assert command("status", Path("-x")) == "cmt-search status ./-x"


def test_the_shell_proposes_values(runs: Path) -> None:
    assert runs_beside("") == ["runs/first", "runs/second"]
    assert runs_beside("runs/s") == ["runs/second"]
    assert runs_beside("th") == ["third"]
    assert exportable("cmt_p") == ["cmt_pico"]
    assert formats_or_all("timm,p") == ["timm,pt2", "timm,parquet"]
    assert formats_or_all("timm,t") == []
    assert "cmt-paper" in rules_list("cmt")
    assert variants("a") == ["all"]


def test_completion_answers_a_shell_and_imports_nothing_heavy(runs: Path) -> None:
    heavy = {"torch", "timm", "ray", "optuna", "pandas", "plotly", "dash", "scipy"}
    typed = {
        "export runs/first --format on": "onnx",
        "status runs/fi": "runs/first",
        "family runs/first --rule effi": "efficientnet",
        "profile cmt_pi": "cmt_pico",
    }
    code = (
        "import os, sys\nfrom cmt_search.cli import main\nsys.argv = ['cmt-search']\n"
        "os.environ['_CMT_SEARCH_COMPLETE'] = 'complete_bash'\n"
        f"for words in {list(typed)!r}:\n"
        "    os.environ['COMP_WORDS'] = 'cmt-search ' + words\n"
        "    os.environ['COMP_CWORD'] = str(len(words.split()))\n"
        "    try:\n        main()\n    except SystemExit:\n        pass\n"
        f"print(sorted(set(sys.modules) & {heavy!r}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.splitlines() == [*typed.values(), "[]"], done.stderr
