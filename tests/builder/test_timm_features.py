"""What timm asks of a backbone: intermediates, pruning, `features_only`."""

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import Tensor

from cmt_search.builder import CMT
from cmt_search.errors import ArchError
from cmt_search.presets import PRESETS
from tests.builder.registered import NAMES, SMALL, create, images, trained

WIDTHS = [stage.width for stage in SMALL.stages]


@pytest.fixture
def oblong() -> CMT:
    """The small `cmt` for images that are no squares, so that sides cannot be swapped."""
    return trained(create(img_size=(64, 96)))


def stage_outputs(model: CMT, x: Tensor) -> list[Tensor]:
    """What every stage gives when the whole model runs."""
    seen: list[Tensor] = []
    hooks = [s.register_forward_hook(lambda *given: seen.append(given[2])) for s in model.stages]
    with torch.no_grad():
        model(x)
    for hook in hooks:
        hook.remove()
    return seen


def assert_same(maps: Sequence[Tensor], wanted: Sequence[Tensor]) -> None:
    assert [m.shape for m in maps] == [m.shape for m in wanted]
    assert all(torch.equal(a, b) for a, b in zip(maps, wanted, strict=True))


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("stop_early", [False, True])
@pytest.mark.parametrize(
    ("indices", "stages"),
    [
        (None, [0, 1, 2, 3]),
        (1, [3]),
        (3, [1, 2, 3]),
        ([1], [1]),
        ([0, 2], [0, 2]),
        ((0, -1), [0, 3]),
        ([-3, -2], [1, 2]),
    ],
)
def test_intermediates_are_the_outputs_of_the_stages_asked_for(
    oblong: CMT, indices: Any, stages: list[int], norm: bool, stop_early: bool
) -> None:
    x = images(oblong)
    outputs = stage_outputs(oblong, x)
    wanted = [outputs[i] for i in stages]
    options = {"indices": indices, "norm": norm, "stop_early": stop_early}
    last, maps = oblong.forward_intermediates(x, **options)
    assert_same(maps, wanted)
    assert_same([last], [wanted[-1] if stop_early else outputs[-1]])
    assert_same(oblong.forward_intermediates(x, intermediates_only=True, **options), wanted)


def test_the_last_of_the_intermediates_is_what_the_head_takes(oblong: CMT) -> None:
    x = images(oblong)
    last, maps = oblong.forward_intermediates(x)
    assert_same([last, maps[-1]], [oblong.forward_features(x)] * 2)
    assert torch.equal(oblong.forward_head(last), oblong(x))


def test_tokens_are_the_pixels_of_the_maps_row_by_row(oblong: CMT) -> None:
    x = images(oblong)
    _, maps = oblong.forward_intermediates(x, indices=[0, 3])
    last, tokens = oblong.forward_intermediates(x, indices=[0, 3], output_fmt="NLC")
    assert_same([last], maps[-1:])  # timm leaves the last map a map
    for these, those in zip(tokens, maps, strict=True):
        batch, width, rows, columns = those.shape
        assert these.shape == (batch, rows * columns, width)
        for row, column in [(0, 1), (1, 0), (rows - 1, columns - 1)]:
            assert torch.equal(these[:, row * columns + column], those[:, :, row, column])


@pytest.mark.parametrize("stop_early", [False, True])
def test_stopping_early_leaves_out_the_stages_that_nobody_asked_for(
    oblong: CMT, stop_early: bool
) -> None:
    ran = []
    for i, stage in enumerate(oblong.stages):
        stage.register_forward_hook(lambda *_, i=i: ran.append(i))
    oblong.neck.register_forward_hook(lambda *_: ran.append("neck"))
    oblong.forward_intermediates(images(oblong), indices=[0, 1], stop_early=stop_early)
    assert ran == ([0, 1] if stop_early else [0, 1, 2, 3])


@pytest.mark.parametrize(
    ("indices", "message"),
    [
        ([4], r"feature index 4 is out of range \(0 to 3\)"),
        ([0, -5], r"feature index -1 is out of range \(0 to 3\)"),
        (5, r"last-n \(5\) is out of range \(1 to 4\)"),
        (0, r"last-n \(0\) is out of range \(1 to 4\)"),
    ],
)
def test_stages_that_do_not_exist_are_refused(oblong: CMT, indices: Any, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        oblong.forward_intermediates(images(oblong), indices=indices)
    with pytest.raises(AssertionError, match=message):
        oblong.prune_intermediate_layers(indices)


def test_an_unknown_format_of_intermediates_is_refused(oblong: CMT) -> None:
    with pytest.raises(ArchError, match="output_fmt='NHWC' is not offered; use 'NCHW' or 'NLC'"):
        oblong.forward_intermediates(images(oblong), output_fmt="NHWC")


@pytest.mark.parametrize(
    ("indices", "taken"), [([0], [0]), ([1, 2], [1, 2]), ([-2], [2]), (1, [3]), (2, [2, 3])]
)
def test_pruning_leaves_what_the_intermediates_need_and_nothing_else(
    oblong: CMT, indices: Any, taken: list[int]
) -> None:
    x, before = images(oblong), deepcopy(oblong)
    last = max(taken)
    kept = ("stem.", *(f"stages.{i}." for i in range(last + 1)))
    assert oblong.prune_intermediate_layers(indices) == taken
    names = [name for name, _ in oblong.named_parameters()]
    assert names == [name for name, _ in before.named_parameters() if name.startswith(kept)]
    with torch.no_grad():
        assert_same(
            oblong.forward_intermediates(x, indices=taken, intermediates_only=True),
            before.forward_intermediates(x, indices=taken, intermediates_only=True),
        )
    out = oblong.train()(x)
    assert out.shape[1] == oblong.num_features == oblong.head_hidden_size == WIDTHS[last]
    out.square().sum().backward()
    assert [name for name, p in oblong.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize("index", [1, 3])
def test_a_pruned_network_can_classify_again_and_at_another_size(oblong: CMT, index: int) -> None:
    oblong.prune_intermediate_layers([index])
    oblong.set_input_size((96, 64))
    oblong.reset_classifier(5, "avg")
    assert oblong.get_classifier().weight.shape == (5, WIDTHS[index])
    logits = oblong.train()(images(oblong))
    assert logits.shape == (2, 5)
    logits.square().sum().backward()
    assert [name for name, p in oblong.named_parameters() if p.grad is None] == []


def test_pruning_nothing_keeps_the_head_where_it_is_asked_to(oblong: CMT) -> None:
    x = images(oblong)
    before = oblong(x)
    assert oblong.prune_intermediate_layers([0, 3], prune_head=False) == [0, 3]
    assert torch.equal(oblong(x), before)


@pytest.mark.parametrize("name", NAMES)
def test_a_backbone_tells_the_channels_and_the_reductions_of_its_maps(name: str) -> None:
    backbone = create(name, features_only=True).eval()
    info, full = backbone.feature_info, PRESETS.get(name, SMALL)
    with torch.no_grad():
        maps = backbone(torch.zeros(2, 3, 64, 64))
    assert info.reduction() == [4, 8, 16, 32]
    assert info.channels() == [stage.width for stage in full.stages] == [m.shape[1] for m in maps]
    assert [m.shape[2:] for m in maps] == [(64 // r, 64 // r) for r in info.reduction()]
    assert info.module_name() == ["stages.0", "stages.1", "stages.2", "stages.3"]


@pytest.mark.filterwarnings("ignore:NOTE. The nodes obtained by tracing")
@pytest.mark.parametrize("feature_cls", ["getter", "hook", "fx"])
@pytest.mark.parametrize(
    ("out_indices", "stages"), [(None, [0, 1, 2, 3]), ((1, 2), [1, 2]), ((0, 3), [0, 3])]
)
def test_a_backbone_gives_the_maps_asked_for(
    out_indices: Any, stages: list[int], feature_cls: str
) -> None:
    options: dict[str, Any] = {"img_size": (64, 96), "drop_path_rate": 0.1}
    torch.manual_seed(0)
    whole = create(**options).eval()
    torch.manual_seed(0)
    backbone = create(
        features_only=True, out_indices=out_indices, feature_cls=feature_cls, **options
    ).eval()
    outputs = stage_outputs(whole, images(whole))
    assert_same(backbone(images(whole)), [outputs[i] for i in stages])
    assert backbone.feature_info.channels() == [WIDTHS[i] for i in stages]
    assert backbone.feature_info.reduction() == [4 * 2**i for i in stages]


@pytest.mark.parametrize(("out_indices", "stages"), [((-3,), [1]), ((0, -2), [0, 2]), (2, [2, 3])])
def test_a_backbone_has_no_parameter_without_a_use(out_indices: Any, stages: list[int]) -> None:
    backbone = create(features_only=True, out_indices=out_indices)
    maps = backbone(torch.randn(2, 3, 64, 64))
    assert [m.shape[1] for m in maps] == [WIDTHS[i] for i in stages]
    assert backbone.feature_info.channels() == [WIDTHS[i] for i in stages]
    torch.stack([m.square().mean() for m in maps]).sum().backward()
    assert [name for name, p in backbone.named_parameters() if p.grad is None] == []
    assert len(backbone.model.stages) == stages[-1] + 1
