"""Training on a GPU; skipped where there is none."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from cmt_search.arch import Arch
from cmt_search.evaluation import Fidelity, TrainingFailed
from cmt_search.proxy import Dataset, DatasetSpec, ProxyEvaluator, Recipe, train
from cmt_search.proxy import training as training_module

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
RECIPE = Recipe(batch=64, lr=6e-3, flip=False, crop_padding=0.0)


def test_a_gpu_learns_as_a_cpu_does(tiny: Arch, embedded: Dataset) -> None:
    fidelity = Fidelity(epochs=2)
    on_gpu, on_cpu = (
        train(tiny, data=embedded, recipe=RECIPE, fidelity=fidelity, seed=0, device=device)
        for device in ("cuda", "cpu")
    )
    assert on_gpu.device == torch.cuda.get_device_name()
    assert on_gpu.top1 == pytest.approx(on_cpu.top1, abs=0.06)


def test_an_evaluator_takes_the_gpu_unless_told_otherwise(tiny: Arch) -> None:
    measure = ProxyEvaluator(DatasetSpec(), recipe=RECIPE)
    measured = measure(tiny, fidelity=Fidelity(epochs=1, data_fraction=0.05), seed=0)
    assert measured.device == torch.cuda.get_device_name()


def test_images_stay_bytes_on_the_gpu(tiny: Arch, embedded: Dataset) -> None:
    data = embedded.to(torch.device("cuda"))
    assert data.train.images.is_cuda
    assert data.train.images.dtype == torch.uint8
    assert torch.equal(data.subset(0.1).train.labels.cpu(), embedded.subset(0.1).train.labels)


def test_a_training_resumed_on_a_gpu_ends_near_the_uncut_one(
    tiny: Arch, embedded: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fidelity = Fidelity(epochs=2, data_fraction=0.5)
    settings = {"data": embedded, "recipe": replace(RECIPE, drop_path=0.1), "seed": 0}
    whole = train(tiny, fidelity=fidelity, device="cuda", **settings)
    real = training_module.Training.advance

    def cut_off(self: training_module.Training) -> None:
        if self.curve:
            raise KeyboardInterrupt
        real(self)

    with monkeypatch.context() as patch:
        patch.setattr(training_module.Training, "advance", cut_off)
        with pytest.raises(KeyboardInterrupt):
            train(tiny, fidelity=fidelity, device="cuda", folder=tmp_path, **settings)
    resumed = train(tiny, fidelity=fidelity, device="cuda", folder=tmp_path, **settings)
    assert resumed.curve[0].loss == pytest.approx(whole.curve[0].loss, rel=0.1)
    assert resumed.top1 == pytest.approx(whole.top1, abs=0.05)


def test_memory_that_runs_out_is_a_failed_training_and_the_next_one_works(
    tiny: Arch, embedded: Dataset
) -> None:
    huge = replace(tiny, resolution=28, stem_width=4096)
    fidelity = Fidelity(epochs=1)
    with pytest.raises(TrainingFailed, match="out of memory on cuda with batches of 8000"):
        train(
            huge,
            data=embedded,
            recipe=replace(RECIPE, batch=8000),
            fidelity=fidelity,
            seed=0,
            device="cuda",
        )
    assert train(
        tiny, data=embedded, recipe=RECIPE, fidelity=fidelity, seed=0, device="cuda"
    ).images
