"""Launch, inspect, export: the programs as a user starts them, on the embedded images.

The tutorial takes the same way within one process: `tests/test_docs.py`.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cmt_search.cost import cost
from cmt_search.export import load

pytestmark = pytest.mark.slow

SPACE = """
kind: rule
base: {preset: cmt_pico, in_chans: 1}
knobs: {resolution: {max: 28}}
budgets: {times_base: [3]}
tolerance: 0.02
proxy:
  epochs: 1
  data_fraction: 0.25
  recipe: {batch: 32, lr: 0.006, augment: {flip: false, translate: 0}}
sampler: {lattice: 0, replicates: 2, rules: [cmt-paper, dwr, width-only]}
"""


def command(*arguments: str) -> Any:
    """Run cmt-search in a process of its own; its JSON."""
    program = [sys.executable, "-c", "from cmt_search.cli import main; main()"]
    done = subprocess.run(
        [*program, *arguments, "--json"],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small search with Ray on real images."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "small.yaml").write_text(SPACE)
    result = command("run", str(folder / "small.yaml"), "--runs", str(folder))
    assert result["stopped"] == "finished"
    assert result["trials"]["failed"] == 0
    # the paper's rule twice, two other rules once
    assert result["trials"]["complete"] == 4
    return folder / "small"


def test_every_network_learns_and_the_report_says_how_noisy_it_is(run: Path) -> None:
    report = command("report", str(run))
    assert all(row["top1"] > 0.3 for row in report["front"])  # chance is 0.1
    assert report["noise"]["sd"] > 0
    assert "plotly" in Path(report["report"]).read_text()


def test_the_family_exports_as_networks_that_timm_builds(run: Path) -> None:
    members = command("family", str(run), "--rule", "cmt-paper", "--budgets", "0.64G,1.5G")
    exported = command("export", str(run))["exported"]
    by_name = {member["name"]: member for member in members["members"]}
    for name, paths in exported.items():
        arch = load(paths["timm"])
        assert arch.key == by_name[name]["key"]
        assert cost(arch).macs == by_name[name]["macs"]
    code = (
        "import torch, timm, cmt_search.builder\n"
        "with torch.device('meta'):\n"
        f"    model = timm.create_model('local-dir:{exported['cmt-paper-640M']['timm']}')\n"
        "print(sum(p.numel() for p in model.parameters()))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) == by_name["cmt-paper-640M"]["params"]
