"""The command line, driven as a user drives it, on a run that a lookup table measured."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from cmt_search import load
from cmt_search.arch import Arch
from cmt_search.cli import invoke
from cmt_search.cost import cost
from cmt_search.presets import PRESETS
from tests.messages import mentions
from tests.runs import RULE_SPACE, run_words, use_table

LAUNCH = ["run", "resume", "status", "runs", "validate"]
MEASURE = ["calibrate", "confirm", "profile", "rules", "train"]
COMMANDS = [*LAUNCH, *MEASURE, "new", "report", "inspect", "family", "export"]


@pytest.fixture
def run(wide_run: Path, analysed_once: None) -> Path:
    """A finished run, whose study no test changes."""
    return wide_run


def said(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


def test_profile_gives_the_published_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["profile", "cmt_xs", "--json"]) == 0
    result = said(capsys)
    assert result["params"] == 15247208
    assert result["macs"] == 1546873472
    assert result["resolution"] == 192
    assert [stage["depth"] for stage in result["stages"]] == [3, 3, 12, 3]


def test_profile_shows_every_part(capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["profile", "cmt_ti"]) == 0
    text = capsys.readouterr().out
    assert all(part in text for part in ("stem", "stage4", "head", "638,904,600", "9,492,426"))


def test_a_bug_is_raised_and_a_mistake_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["profile", "cmt_zz"]) == 2
    assert "cmt_zz" in capsys.readouterr().err
    assert invoke(["profile", "cmt_ti", "--colour"]) == 2
    assert "--colour" in capsys.readouterr().err


def test_the_run_is_complete(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["status", str(run), "--json"]) == 0
    state = said(capsys)
    assert state["trials"]["complete"] >= 14
    assert "running" not in state["trials"]
    assert state["best"]["top1"] > 0.6


def test_running_again_does_nothing_again(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    use_table(monkeypatch, "width")
    assert invoke([*run_words(run.parent), "--json"]) == 0
    assert said(capsys)["trainings"] == 0


def test_another_space_under_the_same_name_is_refused(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other.yaml"
    other.write_text(RULE_SPACE.replace("[3, 8]", "[3, 6]"))
    arguments = ["--runs", str(run.parent), "--name", "tiny", "--executor", "inline"]
    assert invoke(["run", str(other), *arguments]) == 2
    assert "another search space" in capsys.readouterr().err


def test_the_report_is_written_and_summarised(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke(["report", str(run), "--json"]) == 0
    result = said(capsys)
    text = Path(result["report"]).read_text()
    assert result["verdict"]["status"] in ("tie", "unresolved", "resolved")
    assert result["verdict"]["headline"] in text.replace("&#39;", "'")


def test_a_family_that_cannot_be_read_is_left_out_of_the_report(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (run / "family.yaml").write_text("members: 3\n")
    try:
        assert invoke(["report", str(run)]) == 0
    finally:
        (run / "family.yaml").unlink()
    assert "the family: " in capsys.readouterr().err


def test_the_family_is_solved_beside_the_published_one(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke(["family", str(run), "--budgets", "1G,4G"]) == 0
    text = capsys.readouterr().out
    assert all(word in text for word in ("best-1G", "best-4G", "cmt_b (published)", "family: "))
    before = (run / "family.yaml").read_text()
    assert invoke(["family", str(run), "--base", "run", "--budgets", "2M", "--json"]) == 0
    result = said(capsys)
    assert Path(result["earlier"]).parent == run
    assert Path(result["earlier"]).read_text() == before
    (member,) = result["members"]
    assert abs(member["macs"] / 2e6 - 1) <= 0.01
    assert Arch.from_dict(member["arch"]).key == member["key"]


def test_a_named_rule_gives_a_family_too(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["family", str(run), "--rule", "cmt-paper", "--json"]) == 0
    assert said(capsys)["shares"]["width"] == pytest.approx(0.53, abs=0.02)
    assert invoke(["family", str(run), "--rule", "golden"]) == 2
    told = capsys.readouterr().err
    assert mentions(told, "rule 'golden' ... use best, least-activations, least-params")


def test_quiet_prints_the_bare_result(run: Path, capfd: pytest.CaptureFixture[str]) -> None:
    capfd.readouterr()
    out = str(run.parent / "quiet")
    trial = ["--variant", "trial-0", "--to", out, "--format", "yaml,timm"]
    assert invoke(["--quiet", "export", str(run), *trial]) == 0
    assert capfd.readouterr() == (f"{out}/trial-0.yaml\n{out}/trial-0\n", "")
    assert invoke([*run_words(run.parent), "--quiet"]) == 0
    assert capfd.readouterr() == (f"{run}\n", "")
    assert invoke(["runs", str(run.parent), "-q"]) == 0
    assert capfd.readouterr().out.startswith("tiny\trule\tfinished\t")
    assert invoke(["profile", "cmt_ti", "-q"]) == 0
    assert capfd.readouterr().out.splitlines()[-1].startswith("all\t9,492,426\t638,904,600\t")
    assert invoke(["profile", "cmt_zz", "-q"]) == 2
    assert "cmt_zz is neither a preset nor a file" in capfd.readouterr().err


def test_a_budget_without_a_member_is_reported(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--rule", "depth-only", "--budgets", "0.2G,4.2G", "--json"]
    assert invoke(["family", str(run), *arguments]) == 0
    assert list(said(capsys)["missing"]) == ["200M"]


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(["--base", "run", "--budgets", "2M,4M"], id="small"),
        pytest.param([], id="published sizes", marks=pytest.mark.slow),
    ],
)
def test_exported_members_load_as_they_were_solved(
    arguments: list[str], run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke(["family", str(run), *arguments, "--json"]) == 0
    members = {m["name"]: m for m in said(capsys)["members"]}
    assert invoke(["export", str(run), "--to", str(tmp_path), "--json"]) == 0
    exported = said(capsys)["exported"]
    assert list(exported) == list(members)
    for name, paths in exported.items():
        for path in paths.values():
            arch = load(path)
            assert (arch.key, cost(arch).macs) == (members[name]["key"], members[name]["macs"])


@pytest.mark.parametrize("name", ["trial-0", "cmt_pico"])
def test_trials_and_presets_export_too(
    name: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--variant", name, "--to", str(tmp_path), "--format", "yaml"]
    assert invoke(["export", str(run), *arguments]) == 0
    arch = load(tmp_path / f"{name}.yaml")
    assert arch == PRESETS["cmt_pico"] if name == "cmt_pico" else cost(arch).macs > 3e6


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--variant", "x"], "--variant 'x' ... use all, "),
        (["--variant", "trial-99"], "trial 99 is not in "),
        (["--format", "gguf"], "--format 'gguf' ... use yaml, timm"),
    ],
)
def test_what_cannot_be_exported_is_explained(
    arguments: list[str], message: str, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke(["family", str(run), "--base", "run", "--budgets", "2M"]) == 0
    assert invoke(["export", str(run), *arguments]) == 2
    assert mentions(capsys.readouterr().err, message)


def test_validate_shows_the_design(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["validate", str(run.parent / "space.yaml"), "--json"]) == 0
    planned = said(capsys)
    assert planned["trials"] == len(planned["candidates"])
    assert planned["budgets"] == [3 * planned["base_macs"], 8 * planned["base_macs"]]
    assert "resolution-only" in planned["infeasible"]


def test_confirm_compares_fresh_measurements_with_the_prediction(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    use_table(monkeypatch, "width")
    arguments = ["--seeds", "2", "--executor", "inline", "--json"]
    assert invoke(["confirm", str(run), *arguments]) == 0
    result = said(capsys)
    rules = {rule["name"]: rule for rule in result["rules"]}
    assert {"cmt-paper", "dwr", result["predicted-best"], result["predicted-bad"]} <= set(rules)
    assert rules["cmt-paper"]["measured"] is None
    measured = rules[result["predicted-best"]]["measured"]
    assert measured["low"] <= measured["mean"] <= measured["high"]
    assert json.loads((run / "confirm.json").read_text())["seeds"] == 2
    assert result["no_extrapolation"] is None
    check = result["extrapolation"]
    assert check["span"] == pytest.approx(2)
    assert {rule["name"] for rule in check["rules"]} == set(rules) - {"cmt-paper"}
    assert check["naive"]["name"] == result["naive-best"]
    assert check["naive"]["regret"] >= 0


def test_confirm_nearer_than_twice_the_largest_budget_checks_no_law(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    use_table(monkeypatch, "width")
    arguments = ["--seeds", "2", "--executor", "inline", "--budget", "5M"]
    assert invoke(["confirm", str(run), *arguments]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert mentions(shown, "5,000,000 MACs ... 2 times")
    assert json.loads((run / "confirm.json").read_text())["extrapolation"] is None


def test_an_unknown_executor_and_duration_are_refused(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke(["resume", str(run), "--executor", "slurm"]) == 2
    assert mentions(capsys.readouterr().err, "--executor 'slurm' ... use ray, inline")
    assert invoke(["resume", str(run), "--executor", "inlin"]) == 2
    assert mentions(capsys.readouterr().err, "--executor 'inlin' ... did you mean inline?")
    assert invoke(["resume", str(run), "--time-limit", "soon"]) == 2
    assert mentions(capsys.readouterr().err, "--time-limit 'soon' ... write 90s")


@pytest.mark.parametrize("command", ["resume", "status", "report", "family", "export", "inspect"])
def test_a_folder_without_a_run_is_refused(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke([command, str(tmp_path)]) == 2
    assert "holds no run" in capsys.readouterr().err


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_and_stands_in_the_readme(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    assert f"cmt-search {command}" in readme
    assert invoke([command, "--help"]) == 0
    assert len(capsys.readouterr().out.splitlines()) > 5


def test_no_command_is_missing_here(capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["--help"]) == 0
    listed = re.findall(r"^  (\w+)  ", capsys.readouterr().out, flags=re.MULTILINE)
    assert sorted(listed) == sorted(COMMANDS)
