"""`report` says what the laws of scaling say of a run, and gives a better base that can be used."""

import json
import math
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from cmt_search.analysis import laws_of
from cmt_search.arch import Arch
from cmt_search.cli import invoke
from cmt_search.cli.wiring import analysis_of
from cmt_search.cost import cost
from cmt_search.evaluation import Measurement
from cmt_search.space.load import parse_space
from tests.cli.test_cli import SPACE, Table, said

FEWER = SPACE.replace("lattice: 3, replicates: 2", "lattice: 2")


cached_analysis = cache(analysis_of)


class Wide(Table):
    """An evaluator for which only width counts."""

    def __call__(self, arch: Arch, *, seed: int, **more: Any) -> Measurement:
        noise = ((seed * 7919 + int(arch.key, 16)) % 1000 / 1000 - 0.5) * 0.004
        top1 = 0.3 + 0.06 * math.log(sum(stage.width for stage in arch.stages)) + noise
        return replace(super().__call__(arch, seed=seed, **more), top1=top1, loss=1 - top1)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of a truth in which width helps."""
    folder = tmp_path_factory.mktemp("laws")
    (folder / "space.yaml").write_text(FEWER)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cmt_search.cli.wiring.factory_of", lambda space, *, device: Wide)
        arguments = ["--runs", str(folder), "--name", "tiny", "--executor", "inline"]
        assert invoke(["run", str(folder / "space.yaml"), *arguments]) == 0
    return folder / "tiny"


def test_the_report_says_what_the_laws_say(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("cmt_search.cli.wiring.STUDIES", 0)
    monkeypatch.setattr("cmt_search.cli.wiring.analysis_of", cached_analysis)
    capsys.readouterr()
    assert invoke(["report", str(run), "--json"]) == 0
    found = said(capsys)
    html = Path(found["report"]).read_text(encoding="utf-8").replace("&#39;", "'")
    assert len(found["laws"]["says"]) >= 5
    for text in found["laws"]["says"]:
        assert text in html
    assert not found["laws"]["images"]  # the table keeps no bits


def test_an_unbalanced_run_proposes_a_base_of_equal_macs_that_a_space_takes(run: Path) -> None:
    found = cached_analysis(run, studies=0, laws=True)
    laws = json.loads(json.dumps(laws_of(found)))
    space = parse_space(FEWER, source="space.yaml")
    base = laws["base"]
    assert base["balance"]["unbalanced"]
    recentred = Arch.from_dict(base["repair"]["recentred"])
    assert base["repair"]["macs"] == cost(recentred).macs
    assert cost(recentred).macs == pytest.approx(cost(space.arch).macs, rel=space.tolerance)
    new, old = (sum(s.width for s in arch.stages) for arch in (recentred, space.arch))
    assert new > old
    assert recentred.depth <= space.arch.depth
