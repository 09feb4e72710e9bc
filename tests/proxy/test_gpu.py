"""Training on a GPU; skipped where there is none."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from cmt_search.arch import Arch
from cmt_search.evaluation import Fidelity, TrainingFailed
from cmt_search.proxy import Dataset, DatasetSpec, ProxyEvaluator, Recipe, train
from cmt_search.proxy import trainer as training_module
from cmt_search.proxy.evaluator import device_mode
from cmt_search.proxy.step import GraphStep
from cmt_search.recipe import Augment, TwoPhase

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
RECIPE = Recipe(batch=64, lr=6e-3, augment=Augment(flip=False, translate=0.0))


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
    with pytest.raises(TrainingFailed, match="out of memory on cuda:0 with batches of 8000"):
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


def _start(arch: Arch, data: Dataset, recipe: Recipe) -> training_module.Training:
    fidelity = Fidelity(epochs=2, data_fraction=0.2)
    part = data.to(torch.device("cuda")).subset(0.2)
    torch.manual_seed(0)
    return training_module.Training(arch, data=part, recipe=recipe, fidelity=fidelity, seed=0)


RECIPES = {
    "plain": RECIPE,
    "drop path, clipped, averaged": replace(RECIPE, drop_path=0.1, clip_grad=1.0, ema=0.9),
    "mixed": replace(RECIPE, augment=Augment(mixup=0.5, cutmix=1.0, random_erasing=0.2)),
    "varied": replace(RECIPE, augment=Augment(rand_augment=2, color_jitter=0.2)),
    "micro-batches": replace(RECIPE, micro_batch=16),
    "sgd": replace(RECIPE, optimizer="sgd", lr=0.05),
    "two phases": replace(RECIPE, two_phase=TwoPhase(at=0.6, lr=0.01)),
}


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_every_step_after_the_first_few_is_replayed_from_a_graph(
    tiny: Arch, embedded: Dataset, recipe: Recipe
) -> None:
    run = _start(tiny, embedded, recipe)
    run.advance()
    run.advance()
    assert isinstance(run._step_function, GraphStep)
    assert run._step_function.reason is None
    assert run._step_function.run is not None
    assert run.curve[-1].train_loss < run.curve[0].train_loss


def test_replayed_steps_give_the_numbers_of_steps_one_by_one(
    tiny: Arch, embedded: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = RECIPES["drop path, clipped, averaged"]
    with device_mode(torch.device("cuda"), deterministic=True):
        recorded = _start(tiny, embedded, recipe)
        recorded.advance()
        monkeypatch.setattr(training_module, "fastest_step", lambda step, **_: step)
        eager = _start(tiny, embedded, recipe)
        eager.advance()
    assert recorded.curve[0].train_loss == pytest.approx(eager.curve[0].train_loss, rel=1e-3)
    assert recorded.curve[0].loss == pytest.approx(eager.curve[0].loss, rel=1e-2)


def test_steps_wait_for_nothing_on_the_host(tiny: Arch, embedded: Dataset) -> None:
    run = _start(tiny, embedded, RECIPE)
    run.advance()  # kernels are chosen and the graph is recorded
    torch.cuda.set_sync_debug_mode("error")
    try:
        run._train(0.0)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_a_schedule_in_time_waits_for_every_step(
    tiny: Arch, embedded: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = embedded.to(torch.device("cuda")).subset(0.2)
    fidelity = Fidelity(epochs=1, seconds=600.0)
    run = training_module.Training(tiny, data=data, recipe=RECIPE, fidelity=fidelity, seed=0)
    waits: list[object] = []
    real = torch.cuda.synchronize
    monkeypatch.setattr(torch.cuda, "synchronize", lambda *of: waits.append(of) or real(*of))
    run.advance()
    assert len(waits) >= run.step


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_a_deterministic_training_gives_the_same_numbers_bit_for_bit(
    tiny: Arch, embedded: Dataset, recipe: Recipe
) -> None:
    fidelity = Fidelity(epochs=2, data_fraction=0.2)
    settings = {"data": embedded, "recipe": recipe, "fidelity": fidelity, "seed": 0}
    first, second = (train(tiny, device="cuda", deterministic=True, **settings) for _ in range(2))
    assert replace(first, seconds=0.0) == replace(second, seconds=0.0)


def test_memory_is_free_after_a_training(tiny: Arch, embedded: Dataset) -> None:
    settings = {"data": embedded, "recipe": RECIPE, "seed": 0, "device": "cuda"}
    fidelity = Fidelity(epochs=1, data_fraction=0.2)
    train(tiny, fidelity=fidelity, **settings)
    before = torch.cuda.memory_allocated()
    train(tiny, fidelity=fidelity, **settings)
    assert torch.cuda.memory_allocated() <= before
