import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

import cmt_search
from cmt_search import explorer
from cmt_search.cli import invoke
from cmt_search.cli.inspecting import commands, studies_of
from cmt_search.errors import ExportError
from cmt_search.export import trial_variant
from cmt_search.search import RunDir
from tests.analysis.studies import measurement, record, rung


def folder(path: Path) -> RunDir:
    return RunDir.create(path / "a run", space_yaml="", fingerprint="f00d")


def test_a_stopped_trial_is_that_of_the_last_rung_that_was_measured(tmp_path: Path) -> None:
    first, second = rung(number=1, macs=100), rung(number=2, macs=200)
    stopped = record(
        3, (first, [measurement(0.5, seed=s) for s in (0, 7)]), (second, []), state="pruned"
    )
    assert trial_variant(stopped, run="r").arch == first.arch
    assert trial_variant(stopped, run="r").provenance["proxy_top1"] == [0.5, 0.5]
    export, *trains = commands(folder(tmp_path), stopped)
    assert export == f"cmt-search export '{tmp_path}/a run' --variant trial-3 --format yaml"
    assert [line.rpartition("--epochs")[2] for line in trains] == [
        f" {first.fidelity.epochs} --seed {seed}" for seed in (0, 7)
    ]


def test_only_rules_are_named_as_rules() -> None:
    free = record(3, (rung(number=1, macs=100), [measurement(0.5)]))
    assert (
        "rule" not in trial_variant(replace(free, shares=None, name="tpe 12"), run="r").provenance
    )
    ruled = trial_variant(replace(free, shares=(0.2, 0.3, 0.5), name="uniform"), run="r")
    assert ruled.provenance["rule"] == "uniform"


def test_parts_of_images_and_limits_are_said(tmp_path: Path) -> None:
    whole = rung(number=1, macs=100)
    part = replace(
        whole,
        fidelity=replace(whole.fidelity, data_fraction=0.5, image_size=12, steps=9),
    )
    said = commands(folder(tmp_path), record(1, (part, [measurement(0.5)])))
    assert said[1].endswith(f"--epochs {part.fidelity.epochs} --steps 9 --seed 0")
    assert said[2] == "# the trial was trained with 50% of the images and 12 px"


def test_a_trial_without_a_network_is_refused_with_its_reason(tmp_path: Path) -> None:
    none = record(4, state="failed", reason="infeasible: too small")
    with pytest.raises(ExportError, match=r"trial 4 has no network \(infeasible: too small\); cho"):
        trial_variant(none, run="r")
    assert commands(folder(tmp_path), none) == ()


def test_the_explorer_writes_what_the_command_writes(
    wide_run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = Path(shutil.copytree(wide_run, tmp_path / "tiny"))
    study = studies_of([run])[0]
    trial = next(r for r in study.load().records if r.state == "complete")
    assert study.export is not None
    written = study.export(trial)
    before = written.read_bytes()
    again = ["export", str(run), "--variant", f"trial-{trial.number}", "--format", "yaml"]
    assert invoke(again) == 0  # refuses what is not the same
    assert written.read_bytes() == before
    assert cmt_search.load(written) == trial.rungs[-1].rung.arch
    monkeypatch.setattr(
        explorer, "serve", lambda *_app, on_ready, **_where: on_ready("http://127.0.0.1:1/")
    )
    capsys.readouterr()
    assert invoke(["inspect", str(run), "--no-browser", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"url": "http://127.0.0.1:1/", "runs": ["tiny"]}
    written.write_text("mine")
    with pytest.raises(ExportError, match="exists and holds something else"):
        study.export(trial)
