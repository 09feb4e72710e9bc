"""Weights to export: trained once more as the search did, or kept by `cmt-search train`."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import cmt_search
from cmt_search.arch import Arch, Stage
from cmt_search.builder import CMT
from cmt_search.cli import invoke
from cmt_search.cost import cost
from cmt_search.errors import ExportError
from cmt_search.evaluation import Fidelity
from cmt_search.export import Variant, export, kept_weights, retrain
from cmt_search.proxy import ProxyEvaluator
from cmt_search.search import RungRecord, TrialRecord
from cmt_search.space import SearchSpace
from cmt_search.space.candidates import Rung
from cmt_search.space.load import parse_space

SPACE = """
kind: rule
base: {preset: cmt_pico, in_chans: 1}
knobs: {resolution: {max: 28}}
budgets: {times_base: [3]}
tolerance: 0.02
seed: 3
proxy:
  epochs: 2
  data_fraction: 0.02
  recipe: {batch: 32, lr: 0.005, ema: 0.9}
"""
ARCH = Arch(
    resolution=8,
    stem_width=4,
    stem_stride=1,
    stages=(Stage(depth=1, width=8, heads=1, kv_stride=2),),
    neck_width=16,
    in_chans=1,
    num_classes=10,
)
VARIANT = Variant(name="trial-4", arch=ARCH)


@pytest.fixture(scope="module")
def space() -> SearchSpace:
    return parse_space(SPACE, source="space.yaml")


@pytest.fixture(scope="module")
def measured(space: SearchSpace) -> TrialRecord:
    """A trial as the search measures it."""
    evaluate = ProxyEvaluator(space.proxy.dataset, recipe=space.proxy.recipe, device="cpu")
    fidelity = Fidelity(epochs=2, data_fraction=0.02)
    whole = cost(ARCH)
    rung = Rung(
        arch=ARCH,
        fidelity=fidelity,
        macs=whole.macs,
        params=whole.params,
        activations=whole.activations,
    )
    found = evaluate(ARCH, fidelity=fidelity, seed=11)
    record = RungRecord(rung=rung, measurements=(found,), reused=(False,))
    return TrialRecord(
        number=4, state="complete", name="dwr", params={}, shares=None, rungs=(record,)
    )


def test_a_retrained_network_is_the_measured_one(
    space: SearchSpace, measured: TrialRecord, tmp_path: Path
) -> None:
    seen: list[int] = []
    source = retrain(
        VARIANT,
        space=space,
        records=[measured],
        device="cpu",
        on_epoch=lambda training: seen.append(len(training.curve)),
    )
    found = measured.rungs[0].measurements[0]
    assert source.weights is not None
    assert source.weights.training["top1"] == found.top1
    assert source.weights.training["seed"] == 11
    assert "Top1 and loss are exactly those that the search measured." in source.origin
    assert seen == [1, 2]
    path = export(source, format="timm", folder=tmp_path)
    model = CMT(ARCH)
    model.load_state_dict(cmt_search.load_weights(path))
    from cmt_search.proxy import load_dataset
    from cmt_search.proxy.data import resize

    val = load_dataset(space.proxy.dataset).val
    mean, std = source.weights.mean[0], source.weights.std[0]
    x = (resize(val.images, 8).float() / 255 - mean) / std
    with torch.no_grad():
        right = model.eval()(x).argmax(1) == val.labels
    assert float(right.double().mean()) == pytest.approx(found.top1, abs=1e-3)


def test_a_measurement_that_is_not_repeated_is_told(
    space: SearchSpace, measured: TrialRecord
) -> None:
    rung = measured.rungs[0]
    other = replace(rung, measurements=(replace(rung.measurements[0], top1=0.125, device="H100"),))
    source = retrain(
        VARIANT, space=space, records=[replace(measured, rungs=(other,))], device="cpu"
    )
    assert "The search measured top1 12.50% on H100: not the same numbers" in source.origin


def test_a_network_that_was_not_measured_is_trained_as_long_as_the_longest(
    space: SearchSpace, measured: TrialRecord
) -> None:
    member = replace(VARIANT, arch=replace(ARCH, neck_width=12, in_chans=3, num_classes=1000))
    source = retrain(member, space=space, records=[measured], device="cpu")
    assert source.variant.arch == replace(ARCH, neck_width=12)
    assert "The search did not measure this network." in source.origin
    assert source.weights is not None
    assert (source.weights.training["epochs"], source.weights.training["seed"]) == (2, 3)


def test_before_the_first_measurement_there_is_nothing_to_repeat(space: SearchSpace) -> None:
    with pytest.raises(ExportError, match="has not measured anything yet"):
        retrain(VARIANT, space=space, records=[], device="cpu")


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of `cmt-search train`."""
    import yaml

    folder = tmp_path_factory.mktemp("train")
    (folder / "tiny.yaml").write_text(yaml.safe_dump(ARCH.to_dict()))
    (folder / "recipe.yaml").write_text("epochs: 1\ndata_fraction: 0.02\nrecipe: {batch: 32}\n")
    words = [str(folder / "tiny.yaml"), "--recipe", str(folder / "recipe.yaml")]
    assert invoke(["train", *words, "--to", str(folder / "out"), "--device", "cpu", "--json"]) == 0
    return folder / "out"


def test_weights_that_train_kept_are_taken(kept: Path, tmp_path: Path) -> None:
    member = replace(VARIANT, arch=replace(ARCH, in_chans=3, num_classes=1000))
    source = kept_weights(member, folder=kept)
    info = json.loads((kept / "train.json").read_text())
    assert source.variant.arch == ARCH == cmt_search.load(kept)
    assert source.origin.startswith("Trained by `cmt-search train` (epochs: 1 on fashion-mnist")
    assert source.weights is not None
    assert source.weights.training["top1"] == info["measurement"]["top1"]
    path = export(source, format="timm", folder=tmp_path)
    ours, its = cmt_search.load_weights(path), cmt_search.load_weights(kept)
    assert all(torch.equal(ours[name], its[name]) for name in its)
    assert list(source.weights.classes) == info["classes"]


def test_weights_of_another_network_or_of_no_end_are_refused(kept: Path, tmp_path: Path) -> None:
    other = replace(VARIANT, arch=replace(ARCH, neck_width=12))
    with pytest.raises(ExportError, match=r"plan\.arch is network \w+, and trial-4 is \w+"):
        kept_weights(other, folder=kept)
    data = json.loads((kept / "train.json").read_text())
    shutil.copy(kept / "model.safetensors", tmp_path)
    for change, message in (
        ({"state": "running"}, r"state='running': the training is not at its end"),
        ({"measurement": None}, r"train\.json: .* is missing or of another kind"),
        ({"plan": {}}, r"train\.json: plan\.arch is missing"),
    ):
        (tmp_path / "train.json").write_text(json.dumps({**data, **change}))
        with pytest.raises(ExportError, match=message):
            kept_weights(VARIANT, folder=tmp_path)


def test_weights_that_differ_from_their_checksum_are_refused(kept: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(kept, tmp_path / "copy"))
    weights = folder / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(ExportError, match=r"weights\.sha256=.* is not the checksum of model\.saf"):
        cmt_search.load_weights(folder)
