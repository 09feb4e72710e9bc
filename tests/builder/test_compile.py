"""torch.compile: one graph without breaks, which gives what eager gives."""

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.builder.registered import images, trained
from tests.builder.tiny import tiny


@pytest.fixture(autouse=True)
def nothing_compiled() -> Iterator[None]:
    """Every test compiles anew, and leaves nothing to others."""
    torch.compiler.reset()
    yield
    torch.compiler.reset()


def compiled(model: nn.Module, *, backend: str) -> Any:
    """The model as a graph; a break in it is an error."""
    return torch.compile(model, fullgraph=True, backend=backend)


def assert_trains_alike(
    model: nn.Module, program: Any, batch: Tensor, *, eager: nn.Module | None = None
) -> None:
    """The same outputs, gradients and running statistics as those of a copy run eagerly."""
    eager = eager or deepcopy(model)
    given, wanted = program(batch), eager(batch)
    assert torch.allclose(given, wanted, rtol=1e-4, atol=1e-5)
    given.square().sum().backward()
    wanted.square().sum().backward()
    for (name, parameter), other in zip(eager.named_parameters(), model.parameters(), strict=True):
        assert parameter.grad is not None, name
        assert other.grad is not None, name
        assert torch.allclose(other.grad, parameter.grad, rtol=1e-4, atol=1e-5), name
    state = model.state_dict()
    for key, value in eager.state_dict().items():
        assert torch.allclose(state[key], value, rtol=1e-5, atol=1e-6), key


@pytest.mark.parametrize(
    "position",
    [
        "stage",
        pytest.param("block", marks=pytest.mark.slow),
        pytest.param("none", marks=pytest.mark.slow),
    ],
)
def test_one_graph_without_breaks_trains_as_eager_does(position: str) -> None:
    model = trained(tiny(position=position)).train()
    assert_trains_alike(model, compiled(model, backend="eager"), images(model))


def test_one_graph_without_breaks_takes_any_batch() -> None:
    model = trained(tiny())
    program, batch = compiled(model, backend="eager"), images(model, count=5)
    with torch.no_grad():
        for count in (2, 3, 5):
            assert torch.equal(program(batch[:count]), model(batch[:count])), count


@pytest.mark.slow
def test_a_step_with_checkpointing_trains_as_an_eager_one_and_counts_a_batch_once() -> None:
    """In the operators that inductor gets, forward and backward."""
    model = trained(tiny()).train()
    plain = deepcopy(model)
    model.set_grad_checkpointing()
    program = compiled(model, backend="aot_eager_decomp_partition")
    assert_trains_alike(model, program, images(model), eager=plain)


def test_a_graph_follows_autocast() -> None:
    """The residual is added in full precision or in the kernel, by what autocast says."""
    model = trained(tiny(position="block"))
    batch, program = images(model), compiled(model, backend="eager")
    with torch.no_grad():
        for reduced in (False, True, False):
            with torch.autocast("cpu", torch.bfloat16, enabled=reduced):
                assert torch.equal(program(batch), model(batch))


def test_a_graph_refuses_images_of_another_size_with_the_remedy() -> None:
    model = trained(tiny())
    program = compiled(model, backend="eager")
    with pytest.raises(Exception, match=r"model\.set_input_size\(\(20, 18\)\)"):
        program(torch.zeros(2, 1, 20, 18))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("position", ["stage", "none"])
def test_inductor_trains_on_a_gpu_as_eager_does(position: str) -> None:
    model = trained(tiny(position=position)).train().double().cuda()  # with no TF32 between them
    program = compiled(model, backend="inductor")
    assert_trains_alike(model, program, images(model).cuda())
