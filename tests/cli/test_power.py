"""`validate` plans the power of every kind of search."""

import json
from pathlib import Path

import pytest

from cmt_search.cli import invoke

FREE = """\
kind: pareto
base: {preset: cmt_pico, in_chans: 1}
trials: 9
seeds: 2
knobs: {depth: {min: 4, max: 9}}
"""


def test_a_search_of_networks_says_what_two_of_them_can_tell_apart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "free.yaml"
    file.write_text(FREE)
    assert invoke(["validate", str(file), "--seed-sd", "1", "--json"]) == 0
    power = json.loads(capsys.readouterr().out)["power"]
    assert power["error"] == pytest.approx(0.01)  # 1 point * sqrt(2 / 2 seeds)
    assert power["detectable"] == pytest.approx(0.028, abs=0.0005)
    assert power["seeds_for"] == {"0.5 points": 63, "1 points": 16}
    assert invoke(["validate", str(file), "--seed-sd", "1"]) == 0
    assert "16 seeds for 1 points" in capsys.readouterr().out.replace("\n", " ")


def test_names_go_with_budgets_in_the_order_given() -> None:
    from cmt_search.cli.options import macs_of
    from cmt_search.family import label_budgets

    labels = label_budgets(macs_of("5G,1G"), names=["B", "Ti"])
    assert list(labels.items()) == [(1e9, "Ti"), (5e9, "B")]
