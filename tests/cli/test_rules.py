"""`rules`: shares, constants, members, and the figures."""

import contextlib
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest

from cmt_search.arch import Arch
from cmt_search.cli import invoke
from cmt_search.cost import cost
from cmt_search.presets import PRESETS
from cmt_search.scaling import CATALOGUE
from tests.messages import mentions

CMT_S = cost(PRESETS["cmt_s"]).macs


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    assert invoke(["rules", *arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("rules") / "new" / "rules.html"


@pytest.fixture(scope="module")
def data(page: Path) -> Any:
    """What `rules` says of the paper's base, at the default budgets."""
    with contextlib.redirect_stdout(io.StringIO()) as out:
        assert invoke(["rules", "--constants", "1.2,1.3,1.15", "--plot", str(page), "--json"]) == 0
    return json.loads(out.getvalue())


def test_every_rule_of_the_catalogue_is_there_with_members_on_budget(data: Any) -> None:
    rules = {rule["name"]: rule for rule in data["rules"]}
    assert set(rules) == {*CATALOGUE, "custom"}
    for name in CATALOGUE:
        assert sum(rules[name]["shares"]) == pytest.approx(1, abs=2e-4)
        budgets = [member["budget"] / CMT_S for member in rules[name]["members"]]
        assert budgets == pytest.approx([0.25, 1, 4])
        for member in rules[name]["members"]:
            macs = cost(Arch.from_dict(member["arch"])).macs
            assert macs == member["macs"]
            assert abs(macs / member["budget"] - 1) <= 0.01
    assert rules["cmt-paper"]["members"][1]["key"] == PRESETS["cmt_s"].key


def test_exponents_are_the_base_s_and_published_variants_are_explained(data: Any) -> None:
    assert data["exponents"] == pytest.approx([0.906, 1.925, 2.086], abs=1e-3)
    assert data["published"]["shares"] == pytest.approx([0.222, 0.401, 0.377], abs=1e-3)
    assert min(data["published"]["r_squared"]) > 0.97


def test_constants_of_ones_own_come_first_and_keep_their_proportions(data: Any) -> None:
    custom, paper, *_ = data["rules"]
    assert (custom["name"], custom["source"]) == ("custom", "--constants")
    assert custom["shares"] == pytest.approx([0.172, 0.525, 0.303], abs=1e-3)
    assert (custom["shares"], custom["constants"]) == (paper["shares"], paper["constants"])


def test_a_base_may_be_a_file_and_only_the_papers_own_is_compared_with_its_variants(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "x.yaml"
    file.write_text(json.dumps(PRESETS["cmt_pico"].to_dict()))
    there = said(capsys, "--base", str(file), "--budgets", "2M,1M")
    assert there["base"] == PRESETS["cmt_pico"].key
    assert there["published"] is None
    paper = there["rules"][0]
    assert [member["budget"] for member in paper["members"]] == [1_000_000, 2_000_000]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--constants", "1.2,1.3"], "--constants '1.2,1.3' ... write alpha"),
        (["--constants", "a,b,c"], "--constants 'a,b,c' ... write alpha"),
        (["--constants", "0.9,1,1"], "alpha=0.9 shrinks the network; use 1 to keep it"),
        (["--constants", "1,1,1"], "alpha, beta and gamma are all 1: nothing grows"),
        (["--budgets", "many"], "--budgets: "),
        (["--base", "cmt_zz"], "cmt_zz is neither a preset nor a file"),
        (["--plot", "rules.png"], "--plot rules.png: figures are written as a page; name it rules"),
    ],
)
def test_what_cannot_be_listed_is_explained(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke(["rules", *arguments]) == 2
    assert mentions(capsys.readouterr().err, message)


def test_the_plot_is_one_page_that_needs_nothing_beside_it(data: Any, page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert text.count("Plotly.newPlot(") >= 2
    assert not re.search(r"<script[^>]+src=", text)
    assert "What each rule grows" in text
    assert "custom, cmt-paper" in text
    assert list(page.parent.iterdir()) == [page]
