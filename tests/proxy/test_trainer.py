"""What training gives, that it is repeatable, and how it fails."""

import pickle
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from cmt_search.arch import Arch
from cmt_search.errors import DataError
from cmt_search.evaluation import Fidelity, Measurement, OutOfMemory, TrainingFailed
from cmt_search.proxy import Dataset, ImageSet, Recipe, train
from cmt_search.proxy import augment as augment_module
from cmt_search.proxy import trainer as training_module
from cmt_search.proxy.augment import Augmenter
from cmt_search.proxy.data import resize
from cmt_search.proxy.optim import phases
from cmt_search.proxy.trainer import Training, spawn_seeds
from cmt_search.recipe import Augment, TwoPhase

RECIPE = Recipe(batch=32, lr=6e-3)
BRIEF = Fidelity(epochs=2, data_fraction=0.02)  # 160 images: 5 steps an epoch
ONCE = Fidelity(epochs=1)


@pytest.fixture(scope="module")
def few(embedded: Dataset) -> Dataset:
    """With 120 validation images."""
    val = ImageSet(images=embedded.val.images[:120], labels=embedded.val.labels[:120])
    return replace(embedded, val=val)


def _train(arch: Arch, data: Dataset, **changes: object) -> Measurement:
    settings = {"recipe": RECIPE, "fidelity": BRIEF, "seed": 0, **changes}
    return train(arch, data=data, **settings)


def _numbers(measurement: Measurement) -> Measurement:
    return replace(measurement, seconds=0.0)


def test_a_tiny_network_learns_the_embedded_images(tiny: Arch, embedded: Dataset) -> None:
    plain = replace(RECIPE, augment=Augment(flip=False, translate=0.0))
    fidelity = Fidelity(epochs=1, data_fraction=0.4)
    measured = train(tiny, data=embedded, recipe=plain, fidelity=fidelity, seed=0)
    assert measured.top1 > 0.5  # chance is 0.1
    assert measured.loss < 1.5  # chance is 2.3


def test_the_measurement_is_consistent_in_itself(tiny: Arch, few: Dataset) -> None:
    measured = _train(tiny, few, seed=5)
    right = np.unpackbits(np.frombuffer(measured.correct, np.uint8), count=measured.images)
    assert (measured.images, measured.seed, measured.device) == (120, 5, "cpu")
    assert right.mean() == pytest.approx(measured.top1)
    assert [point.epoch for point in measured.curve] == [1, 2]
    assert (measured.curve[-1].top1, measured.curve[-1].loss) == (measured.top1, measured.loss)
    assert measured.seconds > 0
    assert Measurement.from_dict(measured.to_dict()) == measured


def test_the_bits_follow_the_order_of_the_validation_images(tiny: Arch, few: Dataset) -> None:
    turned = ImageSet(images=few.val.images.flip(0), labels=few.val.labels.flip(0))
    there, back = _train(tiny, few), _train(tiny, replace(few, val=turned))
    bits = [np.unpackbits(np.frombuffer(m.correct, np.uint8), count=120) for m in (there, back)]
    assert 0 < bits[0].sum() < 120
    assert bits[0].tolist() == bits[1][::-1].tolist()


def test_the_same_seed_gives_the_same_numbers_bit_for_bit(tiny: Arch, few: Dataset) -> None:
    recipe = replace(RECIPE, drop_path=0.2)
    first = _train(tiny, few, recipe=recipe)
    torch.rand(7)  # what else the process draws makes no difference
    assert _numbers(_train(tiny, few, recipe=recipe)) == _numbers(first)
    assert _train(tiny, few, recipe=recipe, seed=1).loss != first.loss


def test_training_leaves_the_global_generator_as_it_was(tiny: Arch, few: Dataset) -> None:
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    _train(tiny, few)
    assert torch.equal(torch.rand(3), expected)


def test_the_order_and_the_crops_are_the_same_for_every_network_of_a_seed(
    tiny: Arch, few: Dataset
) -> None:
    other = replace(tiny, resolution=8, stem_width=6, neck_width=16)
    states = []
    for arch in (tiny, other):
        run = Training(arch, data=few.subset(0.02), recipe=RECIPE, fidelity=ONCE, seed=3)
        run.advance()
        states.append((run.order.get_state(), run.generator.get_state()))
    assert all(torch.equal(a, b) for a, b in zip(*states, strict=True))


def test_every_value_of_the_recipe_changes_the_result(tiny: Arch, few: Dataset) -> None:
    changes: list[dict[str, Any]] = [
        {"batch": 40},
        {"lr": 3e-3},
        {"weight_decay": 0.5},
        {"warmup_fraction": 0.6},
        {"label_smoothing": 0.2},
        {"augment": Augment(flip=False)},
        {"augment": Augment(translate=0.2)},
        {"augment": Augment(mixup=0.5)},
        {"augment": Augment(resized_crop=(0.5, 1.0))},
        {"drop_path": 0.4},
        {"clip_grad": 0.01},
        {"pos_std": 1.0},
        {"micro_batch": 8},
        {"optimizer": "sgd"},
        {"optimizer": "sgd", "momentum": 0.5},
        {"optimizer": "lion", "lr": 3e-4},
        {"optimizer": "muon"},
        {"lr_batch": 48},
        {"lr_sizes": (9, 16, 16)},
        {"betas": (0.8, 0.9)},
        {"schedule": "one-cycle"},
        {"schedule": "constant"},
        {"final_lr": 0.5},
        {"ema": 0.9},
        {"residual_scale": 1.0},
        {"two_phase": TwoPhase(at=0.5, lr=0.01)},
    ]
    once = replace(BRIEF, epochs=1)
    recipes = [RECIPE, *(replace(RECIPE, **change) for change in changes)]
    losses = [_train(tiny, few, recipe=recipe, fidelity=once).loss for recipe in recipes]
    assert len(set(losses)) == len(changes) + 1


def test_the_validation_loss_is_not_smoothed(tiny: Arch, few: Dataset) -> None:
    run = Training(tiny, data=few.subset(0.02), recipe=RECIPE, fidelity=ONCE, seed=0)
    run.advance()
    with torch.no_grad():
        x = (resize(few.val.images, 14).float() - few.mean.view(1, -1, 1, 1)) / few.std.view(
            1, -1, 1, 1
        )
        expected = nn.functional.cross_entropy(run.model.eval()(x), few.val.labels)
    assert run.curve[-1].loss == pytest.approx(float(expected), rel=1e-5)


def test_neither_norms_nor_biases_nor_position_tables_are_decayed(tiny: Arch, few: Dataset) -> None:
    run = Training(tiny, data=few, recipe=RECIPE, fidelity=ONCE, seed=0)
    decays = {
        id(p): group["weight_decay"]
        for group in run.optimizer.param_groups
        for p in group["params"]
    }
    for name, p in run.model.named_parameters():
        no_decay = p.ndim <= 1 or name.endswith("position")
        assert decays[id(p)] == (0.0 if no_decay else RECIPE.weight_decay), name


def test_the_images_may_be_smaller_than_the_network_was_made_for(tiny: Arch, few: Dataset) -> None:
    fidelity = replace(BRIEF, image_size=8)
    run = _train(tiny, few, fidelity=fidelity)
    assert run.loss != _train(tiny, few).loss
    assert run.loss == _train(replace(tiny, resolution=8), few, fidelity=BRIEF).loss


def test_random_crops_are_taken_from_native_images(
    tiny: Arch, few: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    sides = []
    real = augment_module.resized_crop

    def resized_crop(images: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        sides.append(images.shape[-1])
        return real(images, *args, **kwargs)

    monkeypatch.setattr(augment_module, "resized_crop", resized_crop)
    recipe = replace(RECIPE, augment=Augment(resized_crop=(0.3, 1.0)))
    _train(tiny, few, recipe=recipe, fidelity=replace(BRIEF, epochs=1))
    assert set(sides) == {28}


def test_a_batch_of_one_left_over_is_left_out(tiny: Arch, few: Dataset) -> None:
    odd = few.subset(0.02)
    odd = replace(odd, train=odd.train.select(torch.arange(160) < 65))  # 65 = 2 * 32 + 1
    measured = _train(tiny, odd, fidelity=ONCE)
    assert measured.images == 120


def test_fewer_images_than_a_batch_fill_whole_micro_batches(tiny: Arch, few: Dataset) -> None:
    odd = replace(few, train=few.train.select(torch.arange(len(few.train)) < 65))
    recipe = replace(RECIPE, batch=128, micro_batch=32)  # 65 = 2 * 32 + 1
    run = Training(tiny, data=odd, recipe=recipe, fidelity=ONCE, seed=0)
    run.advance()
    assert (run.length.batch, run.step) == (64, 1)


def test_fewer_images_than_a_batch_are_one_batch(tiny: Arch, few: Dataset) -> None:
    recipe = replace(RECIPE, batch=4096)
    assert len(_train(tiny, few, recipe=recipe).curve) == 2


def test_a_loss_that_is_not_finite_fails_with_epoch_and_step(
    tiny: Arch, few: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    _poison_after(monkeypatch, steps=7)
    with pytest.raises(TrainingFailed) as caught:
        _train(tiny, few)
    message = "the loss became nan in epoch 2, step 3 of 5; use a lower lr or clip_grad: 1"
    assert str(caught.value) == message


def test_weights_that_break_in_the_last_step_fail_at_validation(
    tiny: Arch, few: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    _poison_after(monkeypatch, steps=10)
    with pytest.raises(TrainingFailed, match="the validation loss became nan after epoch 2; use"):
        _train(tiny, few)


def _poison_after(monkeypatch: pytest.MonkeyPatch, *, steps: int) -> None:
    """Networks whose logits are not numbers once they were trained for so many steps."""
    real = training_module.CMT

    def build(*args: object, **kwargs: object) -> nn.Module:
        model, seen = real(*args, **kwargs), 0

        def spoil(module: nn.Module, _: object, logits: torch.Tensor) -> torch.Tensor:
            nonlocal seen
            bad = seen >= steps
            seen += module.training
            return logits * float("nan") if bad else logits

        model.register_forward_hook(spoil)
        return model

    monkeypatch.setattr(training_module, "CMT", build)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
        MemoryError(),
    ],
)
@pytest.mark.parametrize(("micro", "smaller"), [(None, 16), (8, 4)])
def test_running_out_of_memory_names_the_micro_batch_to_repeat_with(
    tiny: Arch,
    few: Dataset,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    micro: int | None,
    smaller: int,
) -> None:
    monkeypatch.setattr(Augmenter, "__call__", _raiser(error))
    with pytest.raises(TrainingFailed) as caught:
        _train(tiny, few, recipe=replace(RECIPE, micro_batch=micro))
    assert isinstance(caught.value, OutOfMemory)
    assert str(caught.value) == (
        f"out of memory on cpu with batches of {2 * smaller}; use a smaller budget, or "
        f"proxy.recipe.micro_batch: {smaller} for every network that this one is compared to"
    )
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_a_micro_batch_of_two_that_does_not_fit_cannot_be_halved(
    tiny: Arch, few: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Augmenter, "__call__", _raiser(MemoryError()))
    with pytest.raises(OutOfMemory) as caught:
        _train(tiny, few, recipe=replace(RECIPE, micro_batch=2))
    expected = "out of memory on cpu with batches of 2; use a smaller batch or budget"
    assert str(caught.value) == expected


@pytest.mark.parametrize("fails", [False, True])
def test_a_training_leaves_no_network_in_memory(
    tiny: Arch, few: Dataset, monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    made: list[weakref.ref[nn.Module]] = []
    real = training_module.CMT

    def build(*args: Any, **kwargs: Any) -> nn.Module:
        model = real(*args, **kwargs)
        made.append(weakref.ref(model))
        return model

    monkeypatch.setattr(training_module, "CMT", build)
    if fails:
        monkeypatch.setattr(Augmenter, "__call__", _raiser(MemoryError()))
        with pytest.raises(OutOfMemory) as caught:
            _train(tiny, few, fidelity=ONCE)
        assert caught.value  # whoever keeps the error keeps no network with it
    else:
        _train(tiny, few, fidelity=BRIEF)
    assert [reference() for reference in made] == [None]


def test_a_bug_is_not_taken_for_a_failed_training(
    tiny: Arch, few: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Augmenter, "__call__", _raiser(RuntimeError("shapes do not match")))
    with pytest.raises(RuntimeError, match="shapes do not match"):
        _train(tiny, few)


def _raiser(error: Exception) -> Callable[..., None]:
    def call(*args: object, **kwargs: object) -> None:
        raise error

    return call


@pytest.mark.parametrize(("name", "value"), [("in_chans", 1), ("num_classes", 10)])
def test_a_network_for_other_images_is_refused_with_the_key_to_set(
    tiny: Arch, few: Dataset, name: str, value: int
) -> None:
    with pytest.raises(DataError) as caught:
        _train(replace(tiny, **{name: 7}), few)
    assert str(caught.value) == (
        f"space file: base.{name}=7, but fashion-mnist-10k has {value}; set base.{name}: {value}"
    )


class _Killed(Exception):
    """Stands for the end of a process."""


def _kill_in_epoch(monkeypatch: pytest.MonkeyPatch, epoch: int) -> None:
    real = Training.advance

    def advance(self: Training) -> None:
        if len(self.curve) + 1 == epoch:
            raise _Killed
        real(self)

    monkeypatch.setattr(Training, "advance", advance)


@pytest.mark.parametrize(
    "recipe",
    [
        replace(RECIPE, drop_path=0.2),
        replace(RECIPE, ema=0.9, optimizer="muon"),
        replace(RECIPE, two_phase=TwoPhase(at=0.5, lr=0.01)),  # the cut is in the second phase
        replace(RECIPE, two_phase=TwoPhase(at=0.9, lr=0.01), optimizer="lion", lr=3e-4),
    ],
    ids=["drop path", "average", "in the second phase", "before the second phase"],
)
def test_a_training_that_was_cut_off_goes_on_to_the_same_numbers(
    tiny: Arch, few: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recipe: Recipe
) -> None:
    settings = {"recipe": recipe, "fidelity": replace(BRIEF, epochs=3)}
    whole = _train(tiny, few, **settings)
    with monkeypatch.context() as patch:
        _kill_in_epoch(patch, 3)
        with pytest.raises(_Killed):
            _train(tiny, few, folder=tmp_path, **settings)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.pt"]
    with monkeypatch.context() as patch:
        _kill_in_epoch(patch, 1)  # starting over would be noticed
        assert _numbers(_train(tiny, few, folder=tmp_path, **settings)) == _numbers(whole)
    with monkeypatch.context() as patch:
        _kill_in_epoch(patch, 4)  # nobody took in what it measured: it is asked for again
        assert _numbers(_train(tiny, few, folder=tmp_path, **settings)) == _numbers(whole)


def test_the_checkpoint_of_another_training_is_not_taken_up(
    tiny: Arch, few: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        _kill_in_epoch(patch, 2)
        with pytest.raises(_Killed):
            _train(tiny, few, folder=tmp_path, seed=1)
    expected = _train(tiny, few)
    assert _numbers(_train(tiny, few, folder=tmp_path)) == _numbers(expected)


def test_a_limit_in_steps_ends_the_training_and_its_schedule_there(
    tiny: Arch, few: Dataset
) -> None:
    rates: list[float] = []
    fidelity = replace(BRIEF, epochs=9, steps=7)
    data = few.subset(fidelity.data_fraction)
    run = Training(tiny, data=data, recipe=RECIPE, fidelity=fidelity, seed=0)
    while not run.done:
        run.advance()
        rates.append(run.optimizer.param_groups[0]["lr"])
    assert (run.step, len(run.curve)) == (7, 2)
    assert rates[-1] == phases(RECIPE, steps=7)[0].lr(6)
    whole = _train(tiny, few, fidelity=replace(BRIEF, steps=10))
    assert _numbers(whole) == _numbers(_train(tiny, few))


def test_a_limit_in_seconds_ends_the_training_within_an_epoch(
    tiny: Arch, few: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(float(second) for second in range(1000))
    monkeypatch.setattr(training_module.time, "perf_counter", lambda: next(clock))
    fidelity = replace(BRIEF, epochs=100, seconds=9.5)
    data = few.subset(fidelity.data_fraction)
    run = Training(tiny, data=data, recipe=RECIPE, fidelity=fidelity, seed=0)
    while not run.done:
        run.advance()
    assert 9.5 <= run.seconds < 15  # a second a step
    assert 5 < run.step < 12
    assert len(run.curve) == 2


def test_an_epoch_that_time_ended_before_its_first_step_is_no_failure(
    tiny: Arch, few: Dataset
) -> None:
    measured = _train(tiny, few, fidelity=replace(BRIEF, epochs=50, seconds=1e-9))
    assert len(measured.curve) == 1


def test_the_average_is_the_one_by_hand_and_is_what_is_measured(tiny: Arch, few: Dataset) -> None:
    recipe = replace(RECIPE, ema=0.8)
    data = few.subset(0.02)
    run = Training(tiny, data=data, recipe=recipe, fidelity=ONCE, seed=0)
    seen: list[dict[str, torch.Tensor]] = []
    assert run.average is not None
    real = run.average.update

    def update(model: nn.Module, step: int) -> None:
        seen.append({name: value.clone() for name, value in model.state_dict().items()})
        real(model, step=step)

    run.average.update = update
    run.advance()
    assert len(seen) == 5
    expected = seen[0]  # the average forgets the untrained weights at once
    for step, state in enumerate(seen[1:], start=2):
        decay = min(1 - (1 + (step - 1)) ** -(2 / 3), 0.8)
        expected = {
            name: decay * value + (1 - decay) * state[name]
            if value.is_floating_point()
            else state[name]
            for name, value in expected.items()
        }
    for name, value in run.measured.state_dict().items():
        torch.testing.assert_close(value, expected[name], rtol=1e-4, atol=1e-6)
    assert run.measured is not run.model
    with torch.no_grad():
        x = run.data.normalize(resize(few.val.images, 14))
        loss = nn.functional.cross_entropy(run.average.module.eval()(x), few.val.labels)
    assert run.curve[-1].loss == pytest.approx(float(loss), rel=1e-5)


def test_the_second_phase_takes_over_at_its_step_with_its_optimiser(
    tiny: Arch, few: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = TwoPhase(at=0.6, optimizer="sgd", lr=0.02, momentum=0.7)
    recipe = replace(RECIPE, two_phase=second)
    run = Training(
        tiny, data=few.subset(0.02), recipe=recipe, fidelity=replace(ONCE, epochs=2), seed=0
    )
    seen = []
    real = Training.step_function

    def step_function(self: Training) -> Any:
        group = self.optimizer.param_groups[-1]
        seen.append((type(self.optimizer).__name__, group["lr"], group.get("momentum")))
        return real(self)

    monkeypatch.setattr(Training, "step_function", step_function)
    run.advance()
    run.advance()
    assert [name for name, _, _ in seen] == ["AdamW"] * 6 + ["SGD"] * 4
    assert seen[6:] == [("SGD", 0.02, 0.7)] * 4
    assert 0 < seen[5][1] < 1e-3  # the cosine of the first phase is over


def test_a_callback_sees_every_epoch_and_the_end_comes_before_the_state_is_dropped(
    tiny: Arch, few: Dataset, tmp_path: Path
) -> None:
    epochs: list[int] = []
    ends: list[bool] = []
    _train(
        tiny,
        few,
        folder=tmp_path,
        on_epoch=lambda run: epochs.append(len(run.curve)),
        on_end=lambda run: ends.append((tmp_path / "checkpoint.pt").exists() and run.done),
    )
    assert (epochs, ends) == ([1, 2], [True])


def test_no_two_training_seeds_share_a_random_stream() -> None:
    spawned = [value for seed in (*range(1000), 10**9) for value in spawn_seeds(seed)]
    assert len({value % 2**32 for value in spawned}) == 3003  # a CPU's generator takes 32 bits


def test_a_training_draws_from_the_streams_of_its_seed(tiny: Arch, few: Dataset) -> None:
    states = set()
    for seed in (0, 1):
        run = Training(tiny, data=few, recipe=RECIPE, fidelity=ONCE, seed=seed)
        states |= {run.order.initial_seed(), run.generator.initial_seed(), torch.initial_seed()}
    assert len(states) == 6
