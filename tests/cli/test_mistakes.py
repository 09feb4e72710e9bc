"""What goes wrong is explained, and leaves nothing behind."""

import json
from pathlib import Path
from typing import Any

import pytest

from cmt_search.arch import Arch
from cmt_search.cli import invoke
from cmt_search.cost import cost
from cmt_search.dataset_spec import DatasetSpec
from cmt_search.errors import DataError
from cmt_search.evaluation import CurvePoint, Fidelity, Measurement, TrainingFailed
from cmt_search.proxy import ProxyEvaluator
from cmt_search.recipe import Recipe
from tests.messages import mentions

RULE = """
kind: rule
base: {preset: cmt_pico, in_chans: 1}
knobs: {resolution: {max: 28}}
budgets: {times_base: [3]}
tolerance: 0.02
sampler: {lattice: 0, replicates: 1}
"""
PARETO = """
kind: pareto
base: {preset: cmt_pico, in_chans: 1}
knobs: {width: {min: 6, max: 16}, resolution: {min: 14, max: 28}}
objectives: [top1, params]
trials: 8
"""


def fails(arch: Arch, *, fidelity: Fidelity, seed: int, folder: Path | None = None) -> Measurement:
    raise TrainingFailed("the loss became nan in epoch 1")


def grows(arch: Arch, *, fidelity: Fidelity, seed: int, folder: Path | None = None) -> Measurement:
    top1 = 1 - 1 / cost(arch).macs ** 0.1
    return Measurement(
        top1=top1,
        loss=1.0,
        curve=(CurvePoint(epoch=1, train_loss=1.0, loss=1.0, top1=top1),),
        correct=b"\xff",
        images=8,
        seconds=0.1,
        seed=seed,
        device="cpu",
    )


def run(tmp_path: Path, text: str, *more: str) -> int:
    (tmp_path / "space.yaml").write_text(text)
    arguments = ["--runs", str(tmp_path), "--name", "tiny", "--executor", "inline"]
    return invoke(["run", str(tmp_path / "space.yaml"), *arguments, *more])


def evaluator(patch: pytest.MonkeyPatch, evaluate: Any) -> None:
    patch.setattr("cmt_search.cli.wiring.factory_of", lambda space, *, device: lambda: evaluate)


@pytest.mark.parametrize(
    ("text", "more", "message"),
    [
        (
            RULE.replace(", in_chans: 1", ""),
            (),
            "base.in_chans: is 3, but fashion-mnist-10k has 1; set base.in_chans: 1",
        ),
        (
            RULE.replace("in_chans: 1", "in_chans: 1, num_classes: 7"),
            (),
            "base.num_classes: is 7, but fashion-mnist-10k has 10; set base.num_classes: 10",
        ),
        (
            RULE + "proxy: {dataset: {split: test}}\n",
            (),
            "proxy.dataset.split: the test split is held out for `cmt-search confirm`",
        ),
        (RULE, ("--time-limit", "soon"), "--time-limit 'soon' is no duration"),
    ],
)
def test_a_search_that_cannot_work_is_refused_before_anything_is_made(
    text: str,
    more: tuple[str, ...],
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(tmp_path, text, *more) == 2
    assert mentions(capsys.readouterr().err, message)
    assert not (tmp_path / "tiny").exists()


def test_a_run_of_which_nothing_completes_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    evaluator(monkeypatch, fails)
    assert run(tmp_path, RULE) == 2
    assert "no trial completed" in capsys.readouterr().err
    assert invoke(["status", str(tmp_path / "tiny"), "--json"]) == 0
    failures = json.loads(capsys.readouterr().out)["failures"]
    assert list(failures) == ["the loss became nan in epoch 1"]
    assert invoke(["report", str(tmp_path / "tiny")]) == 0
    assert "No verdict" in capsys.readouterr().out


def test_a_pareto_search_goes_all_the_way_to_an_export(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    evaluator(monkeypatch, grows)
    assert run(tmp_path, PARETO, "--json") == 0
    assert json.loads(capsys.readouterr().out)["trials"]["complete"] == 8
    folder = str(tmp_path / "tiny")
    assert invoke(["report", folder, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["hypervolume"]["metrics"] == ["params", "top1"]
    assert result["verdict"] is None
    assert invoke(["family", folder]) == 2
    assert "the study has no best rule yet" in capsys.readouterr().err
    assert invoke(["confirm", folder]) == 2
    assert "there is nothing to confirm" in capsys.readouterr().err
    assert invoke(["export", folder, "--variant", "trial-3"]) == 0
    assert (tmp_path / "tiny" / "exports" / "trial-3" / "config.json").exists()


@pytest.mark.parametrize(("name", "message"), [("nope", "use cpu or cuda"), ("cuda", "no GPU")])
def test_a_device_that_is_not_there_is_refused(
    name: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(DataError, match=message):
        ProxyEvaluator(DatasetSpec(), recipe=Recipe(), device=name)


@pytest.mark.usefixtures("analysed_once")
def test_a_report_that_cannot_be_written_is_explained(
    wide_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke(["report", str(wide_run), "--to", str(tmp_path)]) == 2
    assert "cannot be written" in capsys.readouterr().err
    assert invoke(["confirm", str(wide_run), "--budget", "abc"]) == 2


@pytest.mark.usefixtures("analysed_once")
def test_two_budgets_of_one_name_are_refused(
    wide_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--rule", "dwr", "--budgets", "1.550G,1.551G"]
    assert invoke(["family", str(wide_run), *arguments]) == 2
    assert mentions(capsys.readouterr().err, "budgets ... two are the same ... names")
