"""`export`: what it takes, what it prints, and what it refuses."""

import json
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from runpy import run_module
from typing import Any

import pytest
import timm
import torch
import yaml

import cmt_search
from cmt_search.arch import Arch, Stage
from cmt_search.cli import invoke
from cmt_search.export import write_family
from cmt_search.presets import PRESETS
from cmt_search.scaling import Family, named_rule
from cmt_search.search import read_trials
from tests.messages import mentions

# One-epoch trainings of the smallest network that the space allows, on a hundred images.
SPACE = """
kind: pareto
base:
  arch:
    resolution: 8
    stem_width: 4
    stem_stride: 1
    stages: [{depth: 1, width: 8, heads: 1, kv_stride: 2}]
    neck_width: 16
    in_chans: 1
    num_classes: 10
knobs: {width: {min: 4, max: 8}, resolution: {min: 8, max: 10}}
objectives: [top1, params]
trials: 2
proxy:
  epochs: 1
  data_fraction: 0.02
  recipe: {batch: 32, lr: 0.005}
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run whose networks were really trained."""
    folder = tmp_path_factory.mktemp("export")
    (folder / "space.yaml").write_text(SPACE)
    words = ["--runs", str(folder), "--name", "tiny", "--executor", "inline", "--device", "cpu"]
    assert invoke(["run", str(folder / "space.yaml"), *words, "--json"]) == 0
    return folder / "tiny"


def said(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


def test_a_trial_is_retrained_to_the_number_that_was_measured(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    words = ["--variant", "trial-1", "--format", "timm", "--weights", "retrain"]
    assert invoke(["export", str(run), *words, "--to", str(tmp_path), "--device", "cpu"]) == 0
    shown = capsys.readouterr()
    assert "Top1 and loss are exactly those that the search measured." in shown.out
    assert "trial-1: epoch 1, loss" in shown.err
    config = json.loads((tmp_path / "trial-1" / "config.json").read_text())
    record = read_trials(run)[1]
    measured = record.rungs[-1].measurements[0]
    assert config["cmt_search"]["weights"]["training"]["top1"] == measured.top1
    model = timm.create_model(f"local-dir:{tmp_path / 'trial-1'}", pretrained=True)
    kept = cmt_search.load_weights(tmp_path / "trial-1")
    assert all(torch.equal(kept[k], v) for k, v in model.state_dict().items())


def test_without_a_run_a_preset_exports_and_a_file_turns_into_other_formats(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert invoke(["export", "cmt_pico", "--format", "yaml", "--json"]) == 0
    paths = said(capsys)["exported"]["cmt_pico"]
    assert paths == {"yaml": "exports/cmt_pico.yaml"}
    assert invoke(["export", paths["yaml"], "--format", "pt2", "--to", ".", "--json"]) == 0
    assert said(capsys)["exported"] == {"cmt_pico": {"pt2": "cmt_pico.pt2"}}
    assert cmt_search.load("cmt_pico.pt2") == PRESETS["cmt_pico"]


def test_an_edited_file_exports_with_a_note(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--format", "yaml", "--to", str(tmp_path)]
    assert invoke(["export", "cmt_pico", *words]) == 0
    file = tmp_path / "cmt_pico.yaml"
    text = file.read_text()
    assert text.count("num_classes: 10\n") == 1
    file.write_text(text.replace("num_classes: 10\n", "num_classes: 100\n"))
    capsys.readouterr()
    assert invoke(["export", str(file), *words, "--force"]) == 0
    assert mentions(capsys.readouterr().err, "note: ... cmt_pico.yaml ... recomputed: key")
    assert cmt_search.load(file) == replace(PRESETS["cmt_pico"], num_classes=100)
    assert invoke(["export", str(file), *words]) == 0
    assert capsys.readouterr().err == ""


def test_a_folder_that_was_exported_is_not_written_into(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["export", "cmt_pico", "--format", "timm", "--to", "models", "--license", "mit"]
    assert invoke(words) == 0
    before = sorted((tmp_path / "models" / "cmt_pico").iterdir())
    assert "license: mit" in (tmp_path / "models" / "cmt_pico" / "README.md").read_text()
    capsys.readouterr()
    assert invoke(["export", "models/cmt_pico", "--format", "yaml", "--json"]) == 0
    assert said(capsys)["exported"] == {"cmt_pico": {"yaml": "exports/cmt_pico.yaml"}}
    assert sorted((tmp_path / "models" / "cmt_pico").iterdir()) == before


def test_the_study_exports_in_every_format(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert invoke(["export", str(run), "--study", str(tmp_path), "--json"]) == 0
    paths = said(capsys)["study"]
    assert list(paths) == ["csv", "parquet", "optuna"]
    tables = [cmt_search.export.read_study(path) for path in paths.values()]
    assert all(table.equals(tables[0]) for table in tables)


SCRIPT = """
import argparse, json, timm
parser = argparse.ArgumentParser()
parser.add_argument("--model")
parser.add_argument("--input-size", nargs=3, type=int)
parser.add_argument("--num-classes", type=int)
parser.add_argument("--data-dir")
args = parser.parse_args()
chans, height, width = args.input_size
model = timm.create_model(args.model, in_chans=chans, num_classes=args.num_classes)
print(json.dumps([model.arch.key, args.data_dir]))
"""


def test_the_printed_command_starts_timm_s_script_with_the_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arch = replace(PRESETS["cmt_pico"], in_chans=2, num_classes=7)
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(arch.to_dict()))
    words = ["--format", "timm", "--to", str(tmp_path), "--json"]
    assert invoke(["export", str(tmp_path / "mine.yaml"), *words]) == 0
    command = shlex.split(said(capsys)["train"])
    assert command[0] == "python"
    assert " ".join(command[-8:]) == "--input-size 2 14 14 --num-classes 7 --data-dir IMAGES"
    monkeypatch.chdir(tmp_path)
    Path("train.py").write_text(SCRIPT)  # with the options of timm's that are printed
    assert command[1:3] == ["-m", "cmt_search.timm"]
    monkeypatch.setattr(sys, "argv", command[2:])
    monkeypatch.setattr(sys, "path", list(sys.path))
    run_module(command[2], run_name="__main__")
    assert said(capsys) == [arch.key, "IMAGES"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--format", "gguf"], "--format 'gguf' ... use yaml, timm, onnx, pt2, all"),
        (
            ["--format", "yaml,onx"],
            "--format 'onx' ... did you mean onnx? Known are yaml, ",
        ),
        (["--variant", "cmt_piko"], "family.yaml does not exist; write it with"),
        (["--format", "csv"], "--format 'csv' is of a study; add --study DIR"),
        (
            ["--format", "yaml", "--weights", "retrain"],
            "--weights: yaml keeps none; add one of",
        ),
        (["--variant", "trial-9"], "trial 9 is not in "),
        (["--variant", "best"], "family.yaml does not exist; write it with `cmt-search family`"),
        (["--weights", "nowhere"], "--weights 'nowhere' ... use retrain, none,"),
        (
            ["--weights", "retrian"],
            "--weights 'retrian' ... did you mean retrain",
        ),
        (["--device", "cudaa"], "--device 'cudaa' ... did you mean cuda? Known are cpu,"),
        (["--to", ""], "--to ... write . for the folder that you are in"),
    ],
)
def test_what_cannot_be_exported_is_explained(
    words: list[str], message: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke(["export", str(run), "--to", str(tmp_path), *words]) == 2
    assert mentions(capsys.readouterr().err, message)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--format", "yaml"], "--format 'yaml' ... use csv, parquet, optuna"),
        (["--format", "cvs"], "--format 'cvs' ... did you mean csv? Known"),
        (
            ["--variant", "trial-0", "--weights", "retrain"],
            "--study ... --variant, --weights",
        ),
        (["--to", "x"], "--study ... --to"),
    ],
)
def test_a_study_is_exported_alone(
    words: list[str], message: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke(["export", str(run), "--study", str(tmp_path / "study"), *words]) == 2
    assert mentions(capsys.readouterr().err, message)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["cmt_s", "--variant", "cmt_b"],
            "--variant 'cmt_b' ... did you mean cmt_s? Known",
        ),
        (["cmt_pico", "--variant", "trial-3"], "--variant 'trial-3' ... use all, cmt_pico"),
        (["cmt_so"], "cmt_so ... did you mean cmt_s? Presets"),
        (["nothing"], "nothing ... presets are cmt_ti, "),
        (
            ["runs/frist"],
            "runs/frist ... did you mean runs/fir",
        ),
    ],
)
def test_what_is_not_there_is_not_guessed_at(
    words: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "first").mkdir(parents=True)
    (tmp_path / "runs" / "first" / "run.json").write_text("{}")
    assert invoke(["export", *words, "--format", "yaml", "--to", "out"]) == 2
    assert mentions(capsys.readouterr().err, message)
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def trained(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the weights of trial 0 in every format."""
    folder = tmp_path_factory.mktemp("trained")
    words = ["--variant", "trial-0", "--format", "timm,pt2,onnx", "--weights", "retrain"]
    words += ["--to", str(folder), "--device", "cpu", "--json"]
    assert invoke(["export", str(run), *words]) == 0
    return folder


def test_weights_that_lie_in_an_export_are_taken_along(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--format", "timm", "--to", str(tmp_path), "--json"]
    capsys.readouterr()
    assert invoke(["export", str(trained / "trial-0"), *words]) == 0
    result = said(capsys)
    assert result["weights"]["trial-0"].startswith("Trained from scratch as the search trains")
    wanted = cmt_search.load_weights(trained / "trial-0")
    images = json.loads((trained / "trial-0" / "config.json").read_text())["pretrained_cfg"]
    for path in result["exported"]["trial-0"].values():
        found = cmt_search.load_weights(path)
        assert all(torch.equal(found[key], wanted[key]) for key in wanted)
    config = json.loads((tmp_path / "trial-0" / "config.json").read_text())["pretrained_cfg"]
    assert config == images


def test_weights_are_taken_from_a_file_of_weights_and_can_be_left_behind(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["export", str(trained / "trial-0"), "--format", "timm"]
    assert invoke([*words, "--weights", "none", "--to", str(tmp_path / "none")]) == 0
    assert not (tmp_path / "none" / "trial-0" / "model.safetensors").exists()
    for file in ("trial-0", "trial-0/model.safetensors"):
        target = tmp_path / file.replace("/", "-")
        assert invoke([*words, "--weights", str(trained / file), "--to", str(target)]) == 0
        found = cmt_search.load_weights(target / "trial-0")
        wanted = cmt_search.load_weights(trained / "trial-0")
        assert all(torch.equal(found[key], wanted[key]) for key in wanted)
    capsys.readouterr()
    (tmp_path / "none" / "trial-0" / "ema.safetensors").write_bytes(b"")
    ema = str(tmp_path / "none" / "trial-0" / "ema.safetensors")
    assert invoke([*words, "--weights", ema, "--to", str(tmp_path / "ema")]) == 2
    assert "is not model.safetensors" in capsys.readouterr().err
    other = ["export", "cmt_pico", "--format", "timm", "--to", str(tmp_path / "other")]
    assert invoke([*other, "--weights", str(trained / "trial-0")]) == 2
    assert "is of network " in capsys.readouterr().err
    assert invoke([*other, "--weights", str(tmp_path / "none" / "trial-0")]) == 2
    assert "holds no trained weights" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("name", ["trial-0.onnx", "trial-0.pt2"])
def test_weights_in_a_graph_are_not_replaced_without_a_word(
    name: str, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["export", str(trained / name), "--format", "timm", "--to", str(tmp_path)]
    assert invoke(words) == 2
    told = capsys.readouterr().err
    assert "holds trained weights" in told
    assert mentions(told, "graph ... give --weights")
    assert invoke([*words, "--weights", "none"]) == 0
    assert "**Weights:** none" in (tmp_path / "trial-0" / "README.md").read_text()


def test_weights_of_unknown_origin_are_not_lost_either(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    to = ["--to", str(tmp_path)]
    words = ["export", str(trained / "trial-0"), "--weights", "none", "--format", "timm", *to]
    assert invoke(words) == 0  # without training
    assert invoke([*words, "--force"]) == 0
    own = tmp_path / "trial-0" / "model.safetensors"
    own.write_bytes((trained / "trial-0" / "model.safetensors").read_bytes())
    assert invoke([*words, "--force"]) == 2
    assert "holds trained weights (Of unknown origin" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["timm", "pt2", "onnx"])
def test_force_does_not_replace_trained_weights_by_none(
    kind: str, run: Path, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.read_bytes() for path in trained.rglob("*") if path.is_file()}
    words = ["export", str(run), "--variant", "trial-0", "--format", kind, "--to", str(trained)]
    assert invoke([*words, "--force"]) == 2
    told = capsys.readouterr().err
    assert "holds trained weights" in told
    assert "--weights" in told
    assert before == {path: path.read_bytes() for path in trained.rglob("*") if path.is_file()}


def test_what_a_training_kept_is_exported_with_its_weights(
    run: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "recipe.yaml").write_text("epochs: 1\ndata_fraction: 0.02\nrecipe: {batch: 32}\n")
    words = [str(trained / "trial-0"), "--recipe", str(tmp_path / "recipe.yaml"), "--json"]
    folder = tmp_path / "long"
    assert invoke(["train", *words, "--to", str(folder), "--device", "cpu"]) == 0
    capsys.readouterr()
    words = ["--format", "timm", "--to", str(tmp_path / "out")]
    assert invoke(["export", str(folder), *words]) == 0
    assert "long: Trained by `cmt-search train` (epochs: 1 on" in capsys.readouterr().out
    wanted = cmt_search.load_weights(folder)
    found = cmt_search.load_weights(tmp_path / "out" / "long")
    assert all(torch.equal(found[key], wanted[key]) for key in wanted)


def test_the_commands_that_are_proposed_can_be_pasted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert invoke(["export", "cmt_pico", "--format", "timm", "--to", "my 'own'"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert shlex.split(lines[0]) == ["my 'own'/cmt_pico"]
    build = shlex.split(lines[1].removeprefix("build one: "))
    assert build[:2] == ["python", "-c"]
    exec(build[2], {})
    assert "stages" in capsys.readouterr().out


def test_overwriting_needs_force(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arch = Arch(
        resolution=8, stem_width=4, stages=(Stage(depth=1, width=8, heads=1),), num_classes=2
    )
    (tmp_path / "trial-0.yaml").write_text(yaml.safe_dump(arch.to_dict()))
    words = ["export", str(run), "--variant", "trial-0", "--format", "yaml", "--to", str(tmp_path)]
    assert invoke(words) == 2
    told = capsys.readouterr().err
    assert mentions(told, "trial-0.yaml exists ... --force")
    assert cmt_search.load(tmp_path / "trial-0.yaml") == arch
    assert invoke([*words, "--force"]) == 0
    assert cmt_search.load(tmp_path / "trial-0.yaml") != arch


def test_one_training_is_of_one_variant(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], run: Path
) -> None:
    family = Family.of(named_rule("dwr", base=PRESETS["cmt_pico"]), budgets=[1.5e6, 3e6])
    names = {m.budget.macs: f"m{i}" for i, m in enumerate(family.members)}
    path = tmp_path / "family.yaml"
    write_family(family, path=path, names=names, evidence={}, missing={})
    assert invoke(["export", str(path), "--weights", str(run)]) == 2
    assert mentions(capsys.readouterr().err, "--variant ... m0, m1")
    assert invoke(["export", str(path), "--variant", "m11"]) == 2
    assert mentions(capsys.readouterr().err, "--variant 'm11' ... did you mean m1? Known are all, ")
    words = ["--variant", "m1", "--format", "yaml", "--to", str(tmp_path)]
    assert invoke(["export", str(path), *words]) == 0
    assert cmt_search.load(tmp_path / "m1.yaml") == family.members[1].arch
