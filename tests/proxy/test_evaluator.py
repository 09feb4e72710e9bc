"""The evaluator that a search makes once per process."""

import pickle
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch

from cmt_search.arch import Arch
from cmt_search.errors import DataError
from cmt_search.evaluation import THREADS_VARIABLE, Fidelity
from cmt_search.proxy import DatasetSpec, ProxyEvaluator, Recipe, train
from cmt_search.proxy import evaluator as evaluator_module

BRIEF = Fidelity(epochs=1, data_fraction=0.01, image_size=8)
RECIPE = Recipe(batch=16)


def test_a_pickled_factory_makes_an_evaluator_that_measures(tiny: Arch) -> None:
    factory = partial(ProxyEvaluator, DatasetSpec(), recipe=RECIPE, device="cpu")
    measure = pickle.loads(pickle.dumps(factory))()
    direct = factory()(tiny, fidelity=BRIEF, seed=2)
    assert replace(measure(tiny, fidelity=BRIEF, seed=2), seconds=0.0) == replace(
        direct, seconds=0.0
    )


def test_the_evaluator_gives_what_train_gives_from_the_native_images(tiny: Arch) -> None:
    measured = ProxyEvaluator(DatasetSpec(), recipe=RECIPE, device="cpu")(
        tiny, fidelity=BRIEF, seed=0
    )
    data = evaluator_module.load_dataset(DatasetSpec())
    direct = train(tiny, data=data, recipe=RECIPE, fidelity=BRIEF, seed=0)
    assert measured.loss == direct.loss


def test_images_are_read_once_before_the_first_training(
    tiny: Arch, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[DatasetSpec] = []
    real = evaluator_module.load_dataset
    monkeypatch.setattr(
        evaluator_module, "load_dataset", lambda spec: calls.append(spec) or real(spec)
    )
    measure = ProxyEvaluator(DatasetSpec(), recipe=RECIPE, device="cpu")
    assert calls == [DatasetSpec()]
    for side in (8, 6):
        measure(tiny, fidelity=replace(BRIEF, image_size=side), seed=0)
    assert calls == [DatasetSpec()]


@pytest.mark.parametrize(("variable", "threads"), [(None, 1), ("3", 3)])
def test_an_evaluator_on_a_cpu_uses_the_threads_of_a_trial(
    monkeypatch: pytest.MonkeyPatch, variable: str | None, threads: int
) -> None:
    torch.set_num_threads(2)
    monkeypatch.delenv(THREADS_VARIABLE, raising=False)
    if variable is not None:
        monkeypatch.setenv(THREADS_VARIABLE, variable)
    ProxyEvaluator(DatasetSpec(), recipe=RECIPE, device="cpu")
    assert torch.get_num_threads() == threads


def test_missing_images_are_an_error_of_the_creation(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not hold cifar10"):
        ProxyEvaluator(DatasetSpec(name="cifar10", root=str(tmp_path)), recipe=RECIPE, device="cpu")


def test_what_is_asked_for_again_from_its_folder_is_not_trained_again(
    tiny: Arch, tmp_path: Path
) -> None:
    measure = ProxyEvaluator(DatasetSpec(), recipe=RECIPE, device="cpu")
    first = measure(tiny, fidelity=BRIEF, seed=0, folder=tmp_path / "rung")
    assert [path.name for path in (tmp_path / "rung").iterdir()] == ["checkpoint.pt"]
    assert measure(tiny, fidelity=BRIEF, seed=0, folder=tmp_path / "rung") == first  # to the second
