"""`train` trains one network with a recipe, keeps it, and goes on where it was cut off."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from cmt_search.arch import Arch, Stage
from cmt_search.builder import CMT
from cmt_search.cli import invoke
from cmt_search.evaluation import Fidelity
from cmt_search.proxy import DatasetSpec, load_dataset, train
from cmt_search.proxy.data import resize
from cmt_search.proxy.trainer import Training
from cmt_search.recipe import Recipe
from cmt_search.space.load import load_training
from tests.messages import mentions

RECIPES = Path(__file__).parents[2] / "recipes"
TINY = Arch(
    resolution=8,
    stem_width=4,
    stem_stride=1,
    stages=(Stage(depth=1, width=8, heads=1, kv_stride=2),),
    neck_width=16,
    in_chans=3,  # `train` sets it to that of the images, and the classes as well
    num_classes=1000,
)
TEXT = "epochs: 3\ndata_fraction: 0.02\nrecipe: {batch: 32, lr: 0.005, ema: 0.9}\n"


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    """The first words of a command, but for the network and the folder."""
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(TINY.to_dict()))
    (tmp_path / "recipe.yaml").write_text(TEXT)
    words = [tmp_path / "tiny.yaml", "--recipe", tmp_path / "recipe.yaml", "--device", "cpu"]
    return ["train", *map(str, words), "--to", str(tmp_path / "out")]


def _info(tmp_path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((tmp_path / "out" / "train.json").read_text())
    return found


class _Killed(Exception):
    """Stands for the end of a process."""


def _curve(tmp_path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((tmp_path / "out" / "curve.csv").read_text().splitlines()))


def _cut_off(patch: pytest.MonkeyPatch, *, in_epoch: int) -> None:
    real = Training.advance

    def advance(self: Training) -> None:
        if len(self.curve) + 1 == in_epoch:
            raise _Killed
        real(self)

    patch.setattr(Training, "advance", advance)


def test_train_keeps_what_it_is_what_it_gave_and_weights_that_load(
    files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke([*files, "--seed", "4", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    arch = Arch.from_dict({**TINY.to_dict(), "in_chans": 1, "num_classes": 10})
    expected = train(
        arch,
        data=load_dataset(DatasetSpec()),
        recipe=Recipe(batch=32, lr=0.005, ema=0.9),
        fidelity=Fidelity(epochs=3, data_fraction=0.02),
        seed=4,
    )
    assert (result["top1"], result["loss"]) == (expected.top1, expected.loss)
    assert (result["key"], result["seed"], result["epochs"]) == (arch.key, 4, 3)
    model = CMT(arch)
    model.load_state_dict(load_file(result["weights"]))
    val = load_dataset(DatasetSpec()).val
    info = _info(tmp_path)
    x = resize(val.images, 8).float() / 255 - info["normalisation"]["mean"][0]
    with torch.no_grad():
        right = model.eval()(x / info["normalisation"]["std"][0]).argmax(1) == val.labels
    assert float(right.double().mean()) == pytest.approx(expected.top1, abs=1e-3)
    assert (info["state"], info["plan"]["recipe"]["lr"]) == ("complete", 0.005)
    assert info["plan"]["arch"] == json.loads(json.dumps(arch.to_dict()))
    assert {"torch", "timm"} <= info["versions"].keys()
    rows = _curve(tmp_path)
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert float(rows[-1]["loss"]) == expected.loss
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"train.json", "curve.csv", "model.safetensors"}


def test_a_line_per_epoch_goes_to_standard_error(
    files: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke(files) == 0
    said = capsys.readouterr()
    lines = said.err.splitlines()
    assert [line.split(":")[0] for line in lines] == ["epoch 1/3", "epoch 2/3", "epoch 3/3"]
    assert "train loss" in lines[0]
    assert said.out.startswith("top1 ")
    assert "after 3 epochs" in said.out


def test_quiet_prints_the_file_of_the_weights_alone(
    files: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert invoke([*files, "--epochs", "1", "--quiet"]) == 0
    assert capfd.readouterr() == (f"{tmp_path / 'out' / 'model.safetensors'}\n", "")


def test_a_training_that_was_interrupted_goes_on_to_the_same_numbers(
    files: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patch:
        _cut_off(patch, in_epoch=3)
        with pytest.raises(_Killed):
            invoke(files)
    assert _info(tmp_path)["state"] == "running"
    assert len(_curve(tmp_path)) == 2
    with monkeypatch.context() as patch:
        _cut_off(patch, in_epoch=1)  # starting over would be noticed
        assert invoke(files) == 0
    resumed = load_file(tmp_path / "out" / "model.safetensors")
    assert invoke([*files[:-1], str(tmp_path / "whole")]) == 0
    whole = load_file(tmp_path / "whole" / "model.safetensors")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_a_complete_training_is_not_repeated(
    files: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert invoke([*files, "--json"]) == 0
    first = capsys.readouterr().out
    _cut_off(monkeypatch, in_epoch=1)
    assert invoke([*files, "--json"]) == 0
    assert capsys.readouterr().out == first


def test_another_recipe_or_length_is_refused_with_the_difference(
    files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke([*files, "--epochs", "1"]) == 0
    (tmp_path / "recipe.yaml").write_text(TEXT.replace("0.005", "0.004"))
    capsys.readouterr()
    assert invoke([*files, "--epochs", "2"]) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"error: {tmp_path / 'out'} ")
    assert mentions(told, "fidelity.epochs=1, not 2 ... recipe.lr=0.005, not 0.004 ... --to")


@pytest.mark.parametrize(
    ("text", "key", "remedy"),
    [
        ("recipe: {lrr: 1}", "recipe.lrr", "did you mean lr?"),
        ("recipes: {}", "recipes", "did you mean recipe?"),
        ("recipe: {lr: -1}", "recipe.lr", "above 0"),
        ("recipe: {two_phase: {at: 2}}", "recipe.two_phase.at", "below 1"),
        ("recipe: {optimizer: adam}", "recipe.optimizer", "adamw"),
        ("[1, 2]", "", "recipe:"),
    ],
)
def test_a_broken_recipe_file_is_refused_by_its_key(
    files: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    text: str,
    key: str,
    remedy: str,
) -> None:
    (tmp_path / "recipe.yaml").write_text(text)
    assert invoke(files) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: {tmp_path / 'recipe.yaml'}: ")
    assert key in said
    assert remedy in said
    assert not (tmp_path / "out").exists()


def test_a_file_of_another_kind_in_the_folder_is_not_overwritten(
    files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "train.json").write_text("{}")
    assert invoke(files) == 2
    assert "train.json" in capsys.readouterr().err


def test_a_training_that_diverges_says_so_and_exits_with_2(
    files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wild = "{batch: 32, lr: 100, weight_decay: 10, optimizer: sgd}"
    (tmp_path / "recipe.yaml").write_text(f"epochs: 2\ndata_fraction: 0.02\nrecipe: {wild}\n")
    assert invoke(files) == 2
    said = capsys.readouterr().err
    assert f"{tmp_path / 'out'}: the training failed: the " in said
    assert "lower lr" in said


def test_the_proxy_section_of_a_space_file_is_a_recipe_too(tmp_path: Path) -> None:
    space = RECIPES.parent / "search_spaces" / "quickstart.yaml"
    assert load_training(space).recipe.warmup_fraction == 0.05


def test_strong_regularisation_in_a_short_training_is_said(
    files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "recipe.yaml").write_text(TEXT.replace("ema: 0.9", "drop_path: 0.1"))
    assert invoke([*files, "--epochs", "1"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("note: proxy.recipe.drop_path is on in a training of 1 epochs; ")


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_recipe_of_the_project_loads_and_begins_with_what_source_and_command(
    path: Path,
) -> None:
    section = load_training(path)
    assert section.recipe.notes(epochs=section.epochs) == ()
    head = path.read_text().split("\n\n")[0]
    assert all(line.startswith("#") for line in head.splitlines())
    assert all(f"# {word}:" in head for word in ("What", "Source", "Hardware", "Command"))


def test_the_paper_s_recipe_is_the_published_one() -> None:
    recipe = load_training(RECIPES / "imagenet_cmt.yaml").recipe
    assert (recipe.optimizer, recipe.schedule, recipe.label_smoothing) == ("adamw", "cosine", 0.1)
    assert recipe.lr_scale(sizes=(25, 64, 224)) == recipe.batch / 512
    assert (recipe.augment.mixup, recipe.augment.cutmix) == (0.8, 1)
    assert recipe.augment.random_erasing == 0.25
    assert (recipe.pos_std, recipe.decay_position, recipe.residual_scale) == (1, True, 1)
