"""Maps lie in channels_last throughout, and only attention copies them."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from cmt_search.builder import layers
from cmt_search.builder.layers import LMHSA
from tests.builder.registered import SMALL, create, images, trained
from tests.builder.tiny import tiny

COPIES = {"clone", "copy_", "_to_copy", "cat", "constant_pad_nd"}  # operators that move values
IMAGES = 11  # tells maps from weights, none of which begins with this number


@pytest.fixture(autouse=True)
def no_small_maps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Matrix products of small maps gather their patches; here maps of any size are convolved."""
    monkeypatch.setattr(layers, "_LINEAR_PIXELS", 0)


class CopiesSeen(TorchDispatchMode):
    """Which module copied a map of which shape."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.running = [model]
        self.seen: list[tuple[nn.Module, tuple[int, ...]]] = []
        for module in model.modules():
            module.register_forward_pre_hook(self._enter)
            module.register_forward_hook(self._leave)

    def _enter(self, module: nn.Module, args: Any) -> None:
        self.running.append(module)

    def _leave(self, module: nn.Module, args: Any, output: Any) -> None:
        assert self.running.pop() is module

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        name = func._schema.name.removeprefix("aten::")
        if name in COPIES and out.shape[:1] == (IMAGES,) and out.ndim > 2:
            self.seen.append((self.running[-1], tuple(out.shape)))
        return out


@pytest.fixture(params=[True, False], ids=["train", "eval"])
def model(request: pytest.FixtureRequest) -> Any:
    """A network whose maps need no padding and have more than two rows."""
    return trained(create(img_size=128)).train(request.param)


def channels_last(batch: Tensor) -> Tensor:
    return batch.contiguous(memory_format=torch.channels_last)


def test_every_map_lies_in_channels_last(model: Any) -> None:
    layouts = {}

    def note(name: str) -> Any:
        def hook(module: nn.Module, args: Any, out: Tensor) -> None:
            layouts[name] = out.is_contiguous(memory_format=torch.channels_last)

        return hook

    for name, module in model.named_modules():
        if not isinstance(module, LMHSA | nn.LayerNorm | nn.Linear):  # these give tokens
            module.register_forward_hook(note(name))
    model.head, model.global_pool = nn.Identity(), nn.Identity()
    for batch in (images(model), channels_last(images(model))):
        model(batch)
        assert len(layouts) > 60
        assert [name for name, is_so in layouts.items() if not is_so] == []


def test_maps_of_two_rows_lie_in_channels_last_in_training() -> None:
    model = trained(create()).train()
    for feature in model.forward_intermediates(images(model), intermediates_only=True):
        assert feature.is_contiguous(memory_format=torch.channels_last)


def test_features_lie_in_channels_last(model: Any) -> None:
    for feature in model.forward_intermediates(images(model), intermediates_only=True):
        assert feature.is_contiguous(memory_format=torch.channels_last)


def test_only_the_heads_of_attention_are_copied(model: Any) -> None:
    """Queries, keys, values and the merged heads, where there is more than one head."""
    batch = channels_last(images(model, count=IMAGES))
    with CopiesSeen(model) as copies:
        model(batch)
    attentions = [module for module in model.modules() if isinstance(module, LMHSA)]
    several = [module for module in attentions if module.heads > 1]
    assert 0 < len(several) < len(attentions)
    assert [type(module) for module, _ in copies.seen] == [LMHSA] * 4 * len(several)
    assert {module for module, _ in copies.seen} == set(several)


def test_images_in_the_usual_layout_are_copied_once(model: Any) -> None:
    batch = images(model, count=IMAGES)
    with CopiesSeen(model) as copies:
        model(batch)
    elsewhere = [entry for entry in copies.seen if type(entry[0]) is not LMHSA]
    assert elsewhere == [(model, tuple(batch.shape))]


def test_attention_without_position_tables_copies_nothing() -> None:
    """PyTorch's kernel takes heads where they lie, if those of queries are as wide as of values."""
    model = trained(create(arch=replace(SMALL, position="none"), img_size=128))
    batch = channels_last(images(model, count=IMAGES))
    with CopiesSeen(model) as copies:
        model(batch).sum().backward()
    assert copies.seen == []


def test_backward_copies_only_what_attention_copied() -> None:
    model = trained(tiny(input_size=(16, 16))).train()
    loss = model(channels_last(images(model, count=IMAGES))).square().sum()
    with CopiesSeen(model) as copies:
        loss.backward()
    attentions = [module for module in model.modules() if isinstance(module, LMHSA)]
    assert len(copies.seen) == 4 * len(attentions), copies.seen
