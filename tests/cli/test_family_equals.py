"""`family` says which rules are not told from the best, and stands beside other families."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from cmt_search.analysis import equivalence_set_summary, equivalence_set_text, tied_rules
from cmt_search.arch import Arch
from cmt_search.cli import invoke
from cmt_search.cost import cost
from cmt_search.errors import BudgetError
from cmt_search.scaling import DIMENSIONS, Shares
from cmt_search.search import RunDir
from cmt_search.space import load_space
from cmt_search.study import load_study
from tests.cli.conftest import N_SIMULATIONS, analyse_once
from tests.cli.test_cli import said
from tests.messages import mentions
from tests.runs import RULE_SPACE, run_words, use_table


@pytest.fixture
def run(flat_run: Path, analysed_once: None) -> Path:
    """A finished run in which all rules are equal; no test changes its study."""
    return flat_run


def family(run: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    capsys.readouterr()
    assert invoke(["family", str(run), "--base", "run", *arguments, "--json"]) == 0
    return said(capsys)


def test_the_equals_stand_beside_the_best_rule(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    analysis = analyse_once(load_study(run))
    assert invoke(["family", str(run), "--base", "run", "--budgets", "2M"]) == 0
    assert equivalence_set_text(analysis) in capsys.readouterr().out.replace("\n", "")
    written = yaml.safe_load((run / "family.yaml").read_text(encoding="utf-8"))["evidence"]
    assert written["equivalence_set"] == equivalence_set_summary(analysis)
    assert equivalence_set_text(analysis) in written["says"]
    assert written["detectable_difference"] > 0
    assert written["interval"][0] < written["difference_to_paper"] < written["interval"][1]
    assert f"of {N_SIMULATIONS} studies simulated" in " ".join(written["says"])


@pytest.mark.parametrize("criterion", ["activations", "params"])
def test_the_cheapest_of_the_equals_is_chosen(
    criterion: str,
    run: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    some = tied_rules(analyse_once(load_study(run)))[::6]  # solving all takes seconds
    monkeypatch.setattr("cmt_search.analysis.rule_choice.tied_rules", lambda analysis: some)
    chosen = family(run, capsys, "--rule", f"least-{criterion}", "--budgets", "3M")
    space = load_space(RunDir.open(run).space)
    costs = {}
    for values in some.tolist():
        rule = space.rule(Shares(**dict(zip(DIMENSIONS, values, strict=True))), name="x")
        try:
            arch = rule.member(space.budget_macs[-1]).arch
        except BudgetError:
            continue
        costs[tuple(round(v, 4) for v in rule.shares.values)] = getattr(cost(arch), criterion)
    assert costs[tuple(chosen["shares"].values())] == min(costs.values())
    assert len(set(costs.values())) > 1
    (member,) = chosen["members"]
    assert member["name"] == f"least-{criterion}-3M"
    assert Arch.from_dict(member["arch"]).key == member["key"]


def test_an_unknown_criterion_names_the_known_ones(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke(["family", str(run), "--rule", "least-latency"]) == 2
    error = capsys.readouterr().err.replace("\n", " ")
    assert mentions(error, "rule 'least-latency' ... did you mean least-activations?")


def test_a_study_without_a_verdict_has_no_cheapest_of_equals(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "space.yaml").write_text(RULE_SPACE)
    use_table(monkeypatch, "width")
    assert invoke([*run_words(tmp_path), "--trials", "2"]) == 0
    run = str(tmp_path / "tiny")
    assert invoke(["family", run, "--rule", "least-activations"]) == 2
    assert mentions(capsys.readouterr().err, "no best rule ... No verdict: ")
    capsys.readouterr()
    assert invoke(["family", run, "--rule", "cmt-paper", "--json"]) == 0
    evidence = json.loads(capsys.readouterr().out)["evidence"]
    assert evidence["status"] is None
    assert evidence["says"][0].startswith("No verdict: ")


def test_members_stand_beside_those_of_other_rules_with_their_deviations(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = family(
        run, capsys, "--rule", "dwr", "--budgets", "2M,4M", "--beside", "cmt-paper,dwr(0.6)"
    )
    assert [m["name"] for m in told["members"]] == ["dwr-2M", "dwr-4M"]
    assert [other["rule"] for other in told["beside"]] == ["cmt-paper", "dwr(0.6)"]
    for one in (told, *told["beside"]):
        for member in one["members"]:
            off = member["macs"] / member["budget"] - 1
            assert member["deviation"]["macs"] == pytest.approx(off, abs=1e-5)
            squares = [
                (own - asked) ** 2
                for own, asked in zip(
                    member["realised_shares"], one["shares"].values(), strict=True
                )
            ]
            assert member["deviation"]["shares"] == pytest.approx(
                (sum(squares) / 3) ** 0.5, abs=2e-4
            )
    written = yaml.safe_load((run / "family.yaml").read_text(encoding="utf-8"))
    assert [other["rule"] for other in written["beside"]] == ["cmt-paper", "dwr(0.6)"]


def test_members_may_have_names_and_the_papers_budgets_have_the_papers(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    named = family(run, capsys, "--rule", "dwr", "--budgets", "2M,4M", "--names", "Ti,S")
    assert [m["name"] for m in named["members"]] == ["dwr-Ti", "dwr-S"]
    assert invoke(["family", str(run), "--rule", "cmt-paper", "--beside", "none", "--json"]) == 0
    papers = [m["name"] for m in said(capsys)["members"]]
    assert papers == [f"cmt-paper-{name}" for name in ("Ti", "XS", "S", "B")]
    assert invoke(["family", str(run), "--budgets", "2M,4M", "--names", "Ti"]) == 2
    wrong = capsys.readouterr().err.replace("\n", " ")
    assert mentions(wrong, "names ... Ti ... budgets")


def test_the_figures_show_every_family_and_the_triangle(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "drawn.html"
    arguments = ["--rule", "dwr", "--budgets", "2M,4M", "--beside", "cmt-paper"]
    assert family(run, capsys, *arguments, "--plot", str(page))["figures"] == str(page)
    text = page.read_text(encoding="utf-8")
    assert '"name":"dwr"' in text
    assert '"name":"cmt-paper"' in text
    assert "scatterternary" in text


def test_caps_of_the_space_hold_around_its_own_base(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    space = load_space(RunDir.open(run).space)
    tight = space.model_copy(update={"caps": space.caps.model_copy(update={"params": 100_000})})
    monkeypatch.setattr("cmt_search.study.load_space", lambda file: tight)
    arguments = ["--base", "run", "--budgets", "2M", "--rule", "width-only", "--beside", "none"]
    assert invoke(["family", str(run), *arguments]) == 2
    assert "params" in capsys.readouterr().err


def test_members_beyond_twice_the_measured_budgets_are_said_to_extrapolate(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--base", "run", "--budgets", "2M,20M", "--rule", "width-only", "--beside", "none"]
    assert invoke(["family", str(run), *words]) == 0
    lines = capsys.readouterr().out.splitlines()
    (line,) = (line for line in lines if "extrapolates" in line)
    assert line.startswith("width-only-20M")
    assert " 5." in line  # 20M over 8 times the base
