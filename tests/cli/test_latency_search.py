"""Searches under and over measured latency, through the command line; only training is fake."""

import json
from pathlib import Path

import pytest

from cmt_search.cli import invoke
from cmt_search.cost.cache import read_measurements
from cmt_search.search import read_trials
from tests.cli.test_mistakes import evaluator, grows, run
from tests.messages import mentions

LATENCY = "latency: {seconds: 0.01, threshold: 0.5}\n"
PARETO = f"""
kind: pareto
base: {{preset: cmt_pico, in_chans: 1}}
knobs: {{width: {{min: 6, max: 16}}, resolution: {{min: 14, max: 28}}}}
objectives: [top1, latency_ms]
sampler: {{name: random}}
trials: 4
{LATENCY}
"""
RULE = f"""
kind: rule
base: {{preset: cmt_pico, in_chans: 1}}
knobs: {{resolution: {{max: 28}}}}
budgets: {{times_base: [3]}}
tolerance: 0.02
sampler: {{lattice: 0, replicates: 1}}
{LATENCY}
"""
HUGE = "caps: {latency_ms: 100000}\n"
TINY = "caps: {latency_ms: 0.00001}\n"


@pytest.fixture(autouse=True)
def fake_training(monkeypatch: pytest.MonkeyPatch) -> None:
    evaluator(monkeypatch, grows)


def test_a_search_over_latency_keeps_every_figure_with_its_machine_when_it_is_extended(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, PARETO) == 0
    folder = tmp_path / "tiny"
    before = read_measurements(folder / "measured.json")["latency_ms"]
    for figure in before.values():
        assert figure["value"] == figure["median_ms"] > 0
        assert figure["config"]["threads"] == 1
        assert figure["machine"]["hardware"]
        assert figure["machine"]["torch"]
    for record in read_trials(folder):
        rung = record.rungs[0].rung
        assert record.values[1] == rung.latency_ms == before[rung.arch.key]["value"]
    assert invoke(["resume", str(folder), "--trials", "6", "--executor", "inline"]) == 0
    after = read_measurements(folder / "measured.json")["latency_ms"]
    assert {key: after[key] for key in before} == before
    assert len(after) == len({r.rungs[0].rung.arch.key for r in read_trials(folder)})
    assert invoke(["report", str(folder)]) == 0
    assert "latency in ms, as measured (log scale)" in (folder / "report.html").read_text()


def test_a_run_is_not_continued_on_another_machine(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, PARETO) == 0
    file = tmp_path / "tiny" / "measured.json"
    held = read_measurements(file)
    for figure in held["latency_ms"].values():
        figure["machine"]["hardware"] = "abacus"
    file.write_text(json.dumps(held))
    assert invoke(["resume", str(tmp_path / "tiny"), "--executor", "inline"]) == 2
    assert "latency_ms was measured on abacus with torch" in capsys.readouterr().err


@pytest.mark.parametrize("text", [PARETO, RULE])
def test_validate_measures_too_and_says_how(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "space.yaml"
    file.write_text(text + HUGE)
    assert invoke(["validate", str(file)]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "(cpu, threads: 1, batch 1, fp32)" in said


def test_a_cap_that_the_smallest_network_breaks_is_refused_before_the_search(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "space.yaml"
    file.write_text(PARETO + TINY)
    assert invoke(["validate", str(file)]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "caps.latency_ms: " in said
    assert "raise the cap" in said


def test_a_rule_search_under_a_cap_names_it_for_every_rule_without_a_member(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("cmt_search.scaling.solver.MAX_LATENCY_MEASUREMENTS", 1)
    file = tmp_path / "space.yaml"
    file.write_text(RULE + TINY)
    assert invoke(["validate", str(file), "--json"]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "no rule of the design has its networks; cmt-paper: at " in said
    assert "exceeds the cap on latency_ms (" in said
    assert run(tmp_path, RULE + TINY) == 2
    assert "no trial completed" in capsys.readouterr().err
    records = read_trials(tmp_path / "tiny")
    assert {record.state for record in records} == {"failed"}
    assert all("exceeds the cap on latency_ms" in (record.reason or "") for record in records)


def test_a_run_that_is_refused_leaves_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    space = PARETO.replace("latency: {", "latency: {device: cuda, ")
    assert run(tmp_path, space) == 2
    assert mentions(capsys.readouterr().err, "latency.device ... no GPU ... cpu")
    assert not (tmp_path / "tiny").exists()
    (tmp_path / "tiny").mkdir()  # the user's own
    assert run(tmp_path, space) == 2
    assert (tmp_path / "tiny").exists()
