"""One training step, and its recording: all but the CUDA graph itself, on a CPU."""

import copy
import logging
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cmt_search.arch import Arch
from cmt_search.builder import CMT
from cmt_search.proxy import Dataset, DatasetSpec, ImageSet, Recipe
from cmt_search.proxy.augment import Augmenter
from cmt_search.proxy.optim import Phase, create_optimizer, graph_obstacle, phases, set_lr
from cmt_search.proxy.step import GraphStep, Step, fastest_step
from cmt_search.recipe import Augment

CPU = torch.device("cpu")
PLAIN = Augment(flip=False, translate=0.0)


def _phase(optimizer: str = "sgd", **changes: Any) -> Phase:
    values = {"optimizer": optimizer, "lr": 0.1, "weight_decay": 0.05, **changes}
    recipe = Recipe(warmup_fraction=0.0, **values)
    return phases(recipe, steps=10)[0]


def _step(arch: Arch, *, optimizer: str = "sgd", augment: Augment = PLAIN, **options: Any) -> Step:
    torch.manual_seed(0)
    model = CMT(arch, residual_scale=1.0).train()
    none = ImageSet(images=torch.empty(0, 1, 28, 28), labels=torch.empty(0))
    mean, std = torch.full((1,), 128.0), torch.full((1,), 64.0)
    data = Dataset(spec=DatasetSpec(), train=none, val=none, classes=(), mean=mean, std=std)
    return Step(
        model=model,
        optimizer=create_optimizer(model, phase=_phase(optimizer)),
        augment=Augmenter(spec=augment, side=arch.resolution, num_classes=arch.num_classes),
        normalize=data.normalize,
        generator=torch.Generator().manual_seed(3),
        recipe=Recipe(**options),
    )


def _batches(arch: Arch, *, count: int, size: int = 8) -> list[tuple[Tensor, Tensor]]:
    draws = torch.Generator().manual_seed(1)
    shape = (size, arch.in_chans, arch.resolution, arch.resolution)
    return [
        (
            torch.randint(256, shape, generator=draws, dtype=torch.uint8),
            torch.randint(arch.num_classes, (size,), generator=draws),
        )
        for _ in range(count)
    ]


def _weights(step: Step) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in step.model.state_dict().items()}


def test_a_step_is_the_plain_loop_s_step(tiny: Arch) -> None:
    step, (images, labels) = _step(tiny), _batches(tiny, count=1)[0]
    model = copy.deepcopy(step.model)
    optimizer = create_optimizer(model, phase=_phase())
    loss = F.cross_entropy(model((images.float() - 128) / 64), labels)
    loss.backward()
    optimizer.step()
    torch.testing.assert_close(step(images, labels), loss.detach())
    for name, value in model.state_dict().items():
        torch.testing.assert_close(step.model.state_dict()[name], value)


def test_label_smoothing_spreads_its_part_over_all_classes(tiny: Arch) -> None:
    step, (images, labels) = _step(tiny, label_smoothing=0.2), _batches(tiny, count=1)[0]
    with torch.no_grad():
        logs = copy.deepcopy(step.model)((images.float() - 128) / 64).log_softmax(1)
    right = logs.gather(1, labels[:, None]).squeeze(1)
    expected = -(0.8 * right + 0.2 * logs.mean(1)).mean()
    torch.testing.assert_close(step(images, labels), expected)


def test_clipping_bounds_the_norm_of_all_gradients_together(tiny: Arch) -> None:
    norms = []
    for clip in (None, 0.01):
        step = _step(tiny, clip_grad=clip)
        step(*_batches(tiny, count=1)[0])
        grads = [p.grad for p in step.model.parameters() if p.grad is not None]
        norms.append(float(torch.stack([g.norm() for g in grads]).norm()))
    assert norms[0] > 0.1
    assert norms[1] == pytest.approx(0.01, rel=1e-3)


def test_micro_batches_add_up_to_the_gradient_of_the_batch_with_norms_of_their_own(
    tiny: Arch,
) -> None:
    step, (images, labels) = _step(tiny, micro_batch=4), _batches(tiny, count=1)[0]
    model = copy.deepcopy(step.model)
    halves = [
        F.cross_entropy(model((images[part].float() - 128) / 64), labels[part]) / 2
        for part in (slice(0, 4), slice(4, 8))
    ]
    torch.autograd.backward(halves)
    torch.testing.assert_close(step(images, labels), sum(halves).detach())
    for (name, p), q in zip(model.named_parameters(), step.model.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad, msg=name)
    tracked = [m for m in step.model.modules() if isinstance(m, nn.BatchNorm2d)]
    assert {int(m.num_batches_tracked) for m in tracked} == {2}


def test_mixed_images_train_on_shares_of_classes(tiny: Arch) -> None:
    step = _step(tiny, augment=replace(PLAIN, mixup=0.5))
    loss = step(*_batches(tiny, count=1)[0])
    assert loss.isfinite()
    assert loss.ndim == 0


@pytest.mark.parametrize("optimizer", ["adamw", "sgd", "lion", "muon"])
def test_every_optimiser_lowers_the_loss_on_a_batch_that_it_sees_again(
    tiny: Arch, optimizer: str
) -> None:
    step, batch = _step(tiny, optimizer=optimizer), _batches(tiny, count=1, size=16)[0]
    set_lr(step.optimizer, {"sgd": 0.05, "lion": 1e-3}.get(optimizer, 5e-3))
    losses = [float(step(*batch)) for _ in range(12)]
    assert all(later < earlier for earlier, later in pairwise(losses))
    assert losses[-1] < losses[0] - 0.05


def test_muon_leaves_the_classifier_norms_biases_and_tables_to_adamw(tiny: Arch) -> None:
    model = CMT(tiny)
    optimizer = create_optimizer(model, phase=_phase("muon"))
    fallback = {id(p) for g in optimizer.param_groups if g.get("use_fallback") for p in g["params"]}
    named = {name for name, p in model.named_parameters() if id(p) in fallback}
    tables = {name for name, _ in model.named_parameters() if name.endswith("position")}
    assert named == tables | {"head.weight", "head.bias"}  # norms and biases have one dimension


def test_optimisers_are_fused_where_pytorch_has_it_and_take_their_betas(tiny: Arch) -> None:
    model = CMT(tiny)
    for name in ("adamw", "sgd"):
        made = create_optimizer(model, phase=_phase(name))
        assert made.defaults["fused"] is True
    made = create_optimizer(model, phase=_phase("adamw", betas=(0.8, 0.95)))
    assert made.defaults["betas"] == (0.8, 0.95)
    made = create_optimizer(model, phase=_phase("sgd", momentum=0.3, betas=(0.8, 0.95)))
    assert made.defaults["momentum"] == 0.3


def test_lion_is_known_not_to_fit_into_a_graph() -> None:
    assert graph_obstacle("adamw") is graph_obstacle("sgd") is None
    assert graph_obstacle("lion") == "Lion of this release of timm is not capturable"


class FakeGraphStep(GraphStep):
    """Replays by running again; a CUDA graph does the same on its device."""

    def __init__(self, step: Step, *, error: Exception | None = None, warm_up: int = 3) -> None:
        GraphStep.__init__(self, step=step, device=CPU, warm_up=warm_up)
        self.error = error
        self.log: list[str] = []

    def run_aside(self, images: Tensor, labels: Tensor) -> Tensor:
        self.log.append("warm-up")
        return self.step(images, labels)

    def capture(self, images: Tensor, labels: Tensor) -> tuple[Callable[[], None], Tensor]:
        self.log.append("record")
        if self.error is not None:
            raise self.error
        loss = torch.zeros(())

        def replay() -> None:
            self.log.append("replay")
            loss.copy_(self.step(images, labels))

        return replay, loss


def _same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("augment", [PLAIN, Augment(mixup=0.5, random_erasing=0.3)])
def test_a_recorded_step_gives_the_numbers_of_steps_one_by_one(
    tiny: Arch, augment: Augment
) -> None:
    eager = _step(tiny, optimizer="adamw", augment=augment)
    recorded = FakeGraphStep(_step(tiny, optimizer="adamw", augment=augment))
    for number, batch in enumerate(_batches(tiny, count=6)):
        for step in (eager, recorded.step):
            set_lr(step.optimizer, 0.001 * (number + 1))
        assert torch.equal(eager(*batch), recorded(*batch))
    assert recorded.log == ["warm-up"] * 3 + ["record"] + ["replay"] * 3
    assert recorded.reason is None
    assert _same(_weights(eager), _weights(recorded.step))


def test_a_recording_that_fails_is_said_once_and_the_steps_go_on(
    tiny: Arch, caplog: pytest.LogCaptureFixture
) -> None:
    error = RuntimeError("operation not permitted\nlong trace")
    eager, recorded = _step(tiny), FakeGraphStep(_step(tiny), error=error)
    with caplog.at_level(logging.WARNING):
        for batch in _batches(tiny, count=6):
            assert torch.equal(eager(*batch), recorded(*batch))
    assert recorded.log == ["warm-up"] * 3 + ["record"]
    assert recorded.reason == "the recording failed: operation not permitted"
    assert [record.getMessage() for record in caplog.records] == [
        "steps run eagerly, without a CUDA graph: the recording failed: operation not permitted"
    ]


def test_memory_that_runs_out_in_a_recording_is_not_hidden(tiny: Arch) -> None:
    error = torch.OutOfMemoryError("CUDA out of memory")
    recorded = FakeGraphStep(_step(tiny), error=error, warm_up=0)
    with pytest.raises(torch.OutOfMemoryError):
        recorded(*_batches(tiny, count=1)[0])


def test_steps_on_a_cpu_and_known_reasons_are_not_recorded(
    tiny: Arch, caplog: pytest.LogCaptureFixture
) -> None:
    step = _step(tiny)
    assert fastest_step(step, device=CPU) is step
    with caplog.at_level(logging.WARNING):
        assert (
            fastest_step(step, device=torch.device("cuda"), obstacle="it looks at a number") is step
        )
    assert "without a CUDA graph: it looks at a number" in caplog.text
    assert isinstance(fastest_step(step, device=torch.device("cuda")), GraphStep)
