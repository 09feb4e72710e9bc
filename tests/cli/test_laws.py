"""`report` says what the laws of scaling say of a run, and gives a better base that can be used."""

import json
from html import unescape
from pathlib import Path

import pytest

from cmt_search.analysis import laws_of
from cmt_search.arch import Arch
from cmt_search.cli import invoke
from cmt_search.cost import cost
from cmt_search.space.load import parse_space
from cmt_search.study import load_study
from tests.cli.conftest import analyse_once
from tests.cli.test_cli import said
from tests.runs import RULE_SPACE


@pytest.mark.usefixtures("analysed_once")
def test_the_report_says_what_the_laws_say(
    wide_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert invoke(["report", str(wide_run), "--json"]) == 0
    found = said(capsys)
    html = unescape(Path(found["report"]).read_text(encoding="utf-8"))
    assert len(found["laws"]["says"]) >= 5
    for text in found["laws"]["says"]:
        assert text in html
    assert not found["laws"]["images"]  # the table keeps no bits


def test_an_unbalanced_run_proposes_a_base_of_equal_macs_that_a_space_takes(
    wide_run: Path,
) -> None:
    found = analyse_once(load_study(wide_run))
    laws = json.loads(json.dumps(laws_of(found)))
    space = parse_space(RULE_SPACE, source="space.yaml")
    base = laws["base"]
    assert base["gradient_test"]["unbalanced"]
    recentred = Arch.from_dict(base["proposal"]["arch"])
    assert base["proposal"]["macs"] == cost(recentred).macs
    assert cost(recentred).macs == pytest.approx(cost(space.arch).macs, rel=space.tolerance)
    new, old = (sum(s.width for s in arch.stages) for arch in (recentred, space.arch))
    assert new > old
    assert recentred.depth <= space.arch.depth
