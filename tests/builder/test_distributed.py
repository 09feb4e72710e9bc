"""Training in several processes, and the norms that such trainings, or frozen ones, put in."""

from collections.abc import Callable
from copy import deepcopy
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from timm.layers import freeze_batch_norm_2d
from timm.utils import reparameterize_model
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from tests.builder.registered import images, trained
from tests.builder.tiny import TINY, tiny

# A kernel of a depthwise convolution has an axis of 1, for which PyTorch takes two strides.
pytestmark = pytest.mark.filterwarnings("ignore:Grad strides do not match bucket view strides")
RANKS = 2
PER_RANK = 2  # images


def _plain() -> nn.Module:
    return tiny(position="block")


def _checkpointing() -> nn.Module:
    model = tiny()
    model.set_grad_checkpointing()
    return model


def _backbone() -> nn.Module:
    model: nn.Module = timm.create_model("cmt", arch=TINY, features_only=True)
    return model


def _pruned_backbone() -> nn.Module:
    model: nn.Module = timm.create_model("cmt", arch=TINY, features_only=True, out_indices=(0,))
    return model


def _channels_last() -> nn.Module:
    return tiny(position="none").to(memory_format=torch.channels_last)


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "plain": _plain,
    "checkpointing": _checkpointing,
    "backbone": _backbone,
    "pruned backbone": _pruned_backbone,
    "channels_last": _channels_last,
}


def network(name: str) -> nn.Module:
    """The network in training, but with norms that do not depend on the batch."""
    torch.manual_seed(0)
    model = NETWORKS[name]()
    for module in model.train().modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    return model


def loss_of(model: nn.Module, batch: Tensor) -> Tensor:
    """A mean over images, so that a mean over ranks is that of all their images."""
    outputs = model(batch)
    maps = outputs if isinstance(outputs, list) else [outputs]
    return torch.stack([m.square().flatten(1).mean(1) for m in maps]).sum(0).mean()


def all_images() -> Tensor:
    return images(tiny(), count=RANKS * PER_RANK)


def gradients(model: nn.Module) -> dict[str, Tensor | None]:
    return {name: parameter.grad for name, parameter in model.named_parameters()}


def work(rank: int, folder: Path) -> None:
    """What a rank does: two steps of every network, whose gradients it leaves in `folder`.

    A parameter that a step does not use makes the next step an error.
    """
    distributed.init_process_group(
        "gloo",
        init_method=f"file://{folder / 'meeting'}",
        rank=rank,
        world_size=RANKS,
        timeout=timedelta(minutes=2),
    )
    try:
        found = {name: two_steps(network(name), rank=rank) for name in NETWORKS}
    finally:
        distributed.destroy_process_group()
    torch.save(found, folder / f"{rank}.pth")


def two_steps(model: nn.Module, *, rank: int) -> tuple[Any, Any]:
    """The gradients after a step, and after another in which norms train."""
    mine = all_images()[rank * PER_RANK :][:PER_RANK]
    parallel = DistributedDataParallel(model)
    loss_of(parallel, mine).backward()
    first = deepcopy(gradients(model))
    loss_of(parallel.train(), mine).backward()
    return first, gradients(model)


def work_besides(index: int, folder: Path) -> None:
    """What the process with this index does, beside that of the tests, which is rank 0."""
    torch.set_num_threads(1)
    work(index + 1, folder)


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each rank found."""
    folder = tmp_path_factory.mktemp("ranks")
    others = torch.multiprocessing.spawn(work_besides, (folder,), nprocs=RANKS - 1, join=False)
    work(0, folder)
    others.join()
    return [torch.load(folder / f"{rank}.pth") for rank in range(RANKS)]


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_the_gradients_of_two_ranks_are_those_of_all_images_together(
    name: str, ranks: list[dict[str, Any]]
) -> None:
    alone = network(name)
    loss_of(alone, all_images()).backward()
    for rank in ranks:
        first, _ = rank[name]
        for key, gradient in gradients(alone).items():
            assert gradient is not None, key
            assert torch.allclose(first[key], gradient, rtol=1e-4, atol=1e-6), key


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_two_ranks_agree_after_a_step_with_norms_that_train(
    name: str, ranks: list[dict[str, Any]]
) -> None:
    (first, second), (_, other) = (rank[name] for rank in ranks)
    for key, gradient in second.items():
        assert torch.equal(gradient, other[key]), key
    assert any(not torch.equal(second[key], first[key]) for key in first)


@pytest.mark.parametrize(
    "replaced",
    [nn.SyncBatchNorm.convert_sync_batchnorm, freeze_batch_norm_2d],
    ids=["synchronised", "frozen"],
)
def test_folding_keeps_the_logits_where_norms_were_replaced(
    replaced: Callable[[nn.Module], nn.Module],
) -> None:
    model = trained(tiny())
    batch = images(model)
    with torch.no_grad():
        wanted = model(batch)
        other = replaced(deepcopy(model)).eval()
        assert not any(isinstance(module, nn.BatchNorm2d) for module in other.modules())
        assert torch.allclose(other(batch), wanted, rtol=0, atol=1e-6)
        folded = reparameterize_model(other)
        assert torch.allclose(folded(batch), wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "replaced", [nn.Identity(), nn.SyncBatchNorm.convert_sync_batchnorm], ids=["plain", "sync"]
)
def test_checkpointing_counts_every_batch_once(replaced: Callable[[Any], Any]) -> None:
    torch.manual_seed(0)
    plain = replaced(tiny()).train()
    thrifty = deepcopy(plain)
    thrifty.set_grad_checkpointing()
    for model in (plain, thrifty):
        for count in (2, 3):
            model(images(model, count=count)).square().sum().backward()
    for key, value in plain.state_dict().items():
        assert torch.equal(thrifty.state_dict()[key], value), key
    for key, gradient in gradients(plain).items():
        assert gradient is not None, key
        assert torch.equal(gradients(thrifty)[key], gradient), key
