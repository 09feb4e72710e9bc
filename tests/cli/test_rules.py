"""`rules`: shares, constants, members, and the figures."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from cmt_search.arch import Arch
from cmt_search.cli import invoke
from cmt_search.cost import cost
from cmt_search.presets import PRESETS
from cmt_search.scaling import CATALOGUE, exponent_table

CMT_S = cost(PRESETS["cmt_s"]).macs


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    assert invoke(["rules", *arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_every_rule_of_the_catalogue_is_there_with_members_on_budget(
    capsys: pytest.CaptureFixture[str],
) -> None:
    data = said(capsys, "--budgets", "8G,2G")
    rules = {rule["name"]: rule for rule in data["rules"]}
    assert set(rules) == {*CATALOGUE, "tinynet"}
    for name in CATALOGUE:
        assert sum(rules[name]["shares"]) == pytest.approx(1, abs=2e-4)
        assert [member["budget"] for member in rules[name]["members"]] == [2e9, 8e9]
        for member in rules[name]["members"]:
            macs = cost(Arch.from_dict(member["arch"])).macs
            assert macs == member["macs"]
            assert abs(macs / member["budget"] - 1) <= 0.01
    assert rules["tinynet"]["shares"] is None
    assert list(rules["tinynet"]["missing"]) == ["8000000000"]


def test_budgets_are_a_quarter_one_and_four_times_the_base_unless_given(
    capsys: pytest.CaptureFixture[str],
) -> None:
    (paper,) = (r for r in said(capsys)["rules"] if r["name"] == "cmt-paper")
    assert [m["budget"] / CMT_S for m in paper["members"]] == pytest.approx([0.25, 1, 4])
    assert paper["members"][1]["key"] == PRESETS["cmt_s"].key
    assert paper["constants"] == pytest.approx([1.19, 1.284, 1.142], abs=1e-3)


def test_exponents_are_those_of_the_table_and_published_variants_are_explained(
    capsys: pytest.CaptureFixture[str],
) -> None:
    data = said(capsys, "--budgets", "4G")
    table = exponent_table(PRESETS["cmt_s"])
    assert [row["true"] for row in data["exponents"]] == [row.true for row in table]
    assert data["exponents"][0]["local"] == pytest.approx([0.906, 1.925, 2.086], abs=1e-3)
    assert data["published"]["shares"] == pytest.approx([0.222, 0.401, 0.377], abs=1e-3)
    assert min(data["published"]["r_squared"]) > 0.97


def test_another_base_says_nothing_of_the_published_variants(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert said(capsys, "--base", "cmt_pico")["published"] is None
    assert invoke(["rules", "--base", "cmt_pico"]) == 0
    assert "published" not in capsys.readouterr().out


def test_a_base_may_be_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "x.yaml"
    file.write_text(json.dumps(PRESETS["cmt_xs"].to_dict()))
    assert said(capsys, "--base", str(file), "--budgets", "2G")["base"] == PRESETS["cmt_xs"].key


def test_constants_of_ones_own_come_first_and_keep_their_proportions(
    capsys: pytest.CaptureFixture[str],
) -> None:
    own, *_ = said(capsys, "--constants", "1.2,1.3,1.15", "--budgets", "4G")["rules"]
    assert (own["name"], own["source"]) == ("own", "--constants")
    assert own["shares"] == pytest.approx([0.172, 0.525, 0.303], abs=1e-3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--constants", "1.2,1.3"], "--constants '1.2,1.3' are not three numbers; write alpha"),
        (["--constants", "a,b,c"], "--constants 'a,b,c' are not three numbers; write alpha"),
        (["--constants", "0.9,1,1"], "alpha=0.9 shrinks the network; use 1 to keep it"),
        (["--constants", "1,1,1"], "alpha, beta and gamma are all 1: nothing grows"),
        (["--budgets", "many"], "--budgets: "),
        (["--base", "cmt_zz"], "cmt_zz: cannot be read"),
        (["--plot", "rules.png"], "--plot rules.png: figures are written as a page; name it rules"),
    ],
)
def test_what_cannot_be_listed_is_explained(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke(["rules", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_the_plot_is_one_page_that_needs_nothing_beside_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "new" / "rules.html"
    assert invoke(["rules", "--plot", str(page)]) == 0
    assert f"figures: {page}" in capsys.readouterr().out.replace("\n", "")
    text = page.read_text(encoding="utf-8")
    assert text.count("Plotly.newPlot(") >= 2
    assert not re.search(r"<script[^>]+src=", text)
    assert "What each rule grows" in text
    assert list(page.parent.iterdir()) == [page]


def test_a_plot_beside_json_leaves_the_json_whole(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said(capsys, "--base", "cmt_pico", "--plot", str(tmp_path / "rules.html"))
    assert (tmp_path / "rules.html").exists()
