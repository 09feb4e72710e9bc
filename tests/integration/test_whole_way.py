"""Search with Ray in a process of its own, on the embedded images; then report, family, export.

The tutorial takes the same way without Ray and within one process: `tests/test_docs.py`.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import timm
import torch

from cmt_search.cli import invoke
from cmt_search.cost import cost
from cmt_search.export import load
from cmt_search.search import read_trials

pytestmark = [pytest.mark.slow, pytest.mark.ci]

SPACE = """
kind: rule
base: {preset: cmt_pico, in_chans: 1}
knobs: {resolution: {max: 28}}
budgets: {times_base: [3]}
tolerance: 0.02
proxy:
  epochs: 1
  data_fraction: 0.1
  recipe: {batch: 32, lr: 0.006, augment: {flip: false, translate: 0}}
sampler: {lattice: 0, replicates: 2, rules: [cmt-paper, dwr, width-only]}
"""
SEARCH = "from cmt_search.cli import main; main()"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small search with Ray on real images."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "small.yaml").write_text(SPACE)
    words = ["run", str(folder / "small.yaml"), "--runs", str(folder), "--json"]
    done = subprocess.run(
        [sys.executable, "-c", SEARCH, *words],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["stopped"] == "finished"
    assert result["trials"]["failed"] == 0
    # the paper's rule twice, two other rules once
    assert result["trials"]["complete"] == 4
    return folder / "small"


def command(capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    """What the command prints."""
    capsys.readouterr()
    assert invoke([*words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_every_network_learns_and_the_report_says_how_noisy_it_is(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = command(capsys, "report", str(run))
    assert all(row["top1"] > 0.3 for row in report["front"])  # chance is 0.1
    assert report["noise"]["dof"] == 1
    twice = [trial.rungs[0].measurements[0] for trial in read_trials(run)[:2]]
    assert twice[0].loss != twice[1].loss
    assert "plotly" in Path(report["report"]).read_text()


def test_the_family_exports_as_networks_that_timm_builds(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--base", "run", "--rule", "cmt-paper", "--budgets", "1M,2M"]
    members = command(capsys, "family", str(run), *words)
    exported = command(capsys, "export", str(run))["exported"]
    by_name = {member["name"]: member for member in members["members"]}
    assert list(exported) == list(by_name)
    for name, paths in exported.items():
        arch = load(paths["timm"])
        assert arch.key == by_name[name]["key"]
        assert cost(arch).macs == by_name[name]["macs"]
        with torch.device("meta"):
            model = timm.create_model(f"local-dir:{paths['timm']}")
        assert sum(p.numel() for p in model.parameters()) == by_name[name]["params"]
