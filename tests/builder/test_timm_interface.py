"""timm's interface: config, head, input, state, intermediates, pruning, `features_only`."""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_model, save_model
from timm.data import create_transform, resolve_model_data_config
from timm.utils import reparameterize_model
from torch import Tensor, nn
from torchvision.transforms.functional import to_pil_image

from cmt_search.builder import CMT
from cmt_search.errors import ArchError
from cmt_search.presets import PRESETS
from tests.builder.registered import NAMES, SMALL, create, images, native, trained

CFG_KEYS = {
    "architecture",
    "num_classes",
    "input_size",
    "pool_size",
    "fixed_input_size",
    "crop_pct",
    "interpolation",
    "mean",
    "std",
    "first_conv",
    "classifier",
}


def inputs_of(model: nn.Module, name: str, *args: Any) -> list[Any]:
    """What the named module gets when the model runs."""
    seen: list[Any] = []
    hook = model.get_submodule(name).register_forward_pre_hook(lambda _, given: seen.extend(given))
    with torch.no_grad():
        model(*args)
    hook.remove()
    return seen


@pytest.mark.parametrize("name", NAMES)
def test_features_and_logits_have_the_sizes_that_the_config_names(name: str) -> None:
    model = native(name)
    config, x = model.default_cfg, images(model)
    features = model.forward_features(x)
    assert x.shape[1:] == config["input_size"]
    assert features.shape == (2, model.num_features, *config["pool_size"])
    assert model.num_features == model.arch.stages[-1].width
    pooled = model.forward_head(features, pre_logits=True)
    assert pooled.shape == (2, model.head_hidden_size) == (2, model.arch.neck_width)
    assert model.forward_head(features).shape == (2, model.num_classes)
    assert model.num_classes == config["num_classes"]


def test_the_config_is_complete_and_its_names_exist(shared: CMT) -> None:
    config, x = shared.default_cfg, images(shared)
    assert config.keys() >= CFG_KEYS
    assert shared.pretrained_cfg is config
    (image,) = inputs_of(shared, config["first_conv"], x)
    assert torch.equal(image, x)  # no other convolution comes before
    assert shared.get_submodule(config["first_conv"]).weight.shape[1] == config["input_size"][0]
    assert shared.get_submodule(config["classifier"]) is shared.get_classifier()


@pytest.mark.parametrize("name", NAMES)
def test_the_size_that_a_config_calls_fixed_is(name: str) -> None:
    model = native(name)
    _, height, width = model.default_cfg["input_size"]
    assert model.default_cfg["fixed_input_size"] is True
    message = f"an image of {height}x{width + 32} pixels came to a model of {height}x{width}; call"
    with pytest.raises(ArchError, match=message):
        model(torch.empty(2, 3, height, width + 32, device="meta"))


@pytest.mark.parametrize("name", NAMES)
def test_timms_transform_makes_images_that_the_network_takes(name: str) -> None:
    model = native(name)
    transform = create_transform(**resolve_model_data_config(model))
    image = transform(to_pil_image(torch.rand(3, 300, 400)))
    assert image.shape == (3, *model.input_size)


def test_the_classifier_is_what_makes_the_logits(small: CMT) -> None:
    x = images(small)
    with torch.no_grad():
        before, classifier = small(x), small.get_classifier()
        pooled = small.forward_head(small.forward_features(x), pre_logits=True)
        assert torch.allclose(before, pooled @ classifier.weight.T + classifier.bias, atol=1e-4)
        classifier.weight.zero_()
        classifier.bias.copy_(torch.arange(small.num_classes))
        assert torch.equal(small(x)[0], torch.arange(float(small.num_classes)))
    assert before.std() > 0


def test_an_evaluation_does_not_depend_on_the_other_images(shared: CMT) -> None:
    x = images(shared, count=3)
    with torch.no_grad():
        alone, together = shared(x[:1]), shared(x)
        other = shared(torch.cat([x[:1], 100 * x[1:]]))
    spread = together.std(0).mean()
    assert spread > 1e-3
    assert (together[:1] - alone).abs().max() < 1e-3 * spread
    assert (other[:1] - alone).abs().max() < 1e-3 * spread


def test_folding_for_inference_changes_no_logit(shared: CMT) -> None:
    x = images(shared)
    folded = reparameterize_model(shared)
    with torch.no_grad():
        logits = shared(x)
        error = (folded(x) - logits).abs().max()
    assert error < 1e-3 * logits.std()
    assert isinstance(folded.neck.norm, nn.Identity)
    assert isinstance(shared.neck.norm, nn.BatchNorm2d)


@pytest.mark.parametrize("pool", ["avg", "max", "avgmax", "catavgmax"])
def test_global_pool_takes_the_names_of_timm(small: CMT, pool: str) -> None:
    x = images(small)
    small.reset_classifier(0, "")
    features = small(x)
    average, largest = features.mean((2, 3)), features.amax((2, 3))
    pooled = {
        "avg": average,
        "max": largest,
        "avgmax": (average + largest) / 2,
        "catavgmax": torch.cat([average, largest], 1),
    }[pool]
    small.reset_classifier(0, pool)
    assert torch.allclose(small(x), pooled, atol=1e-6)
    assert small.head_hidden_size == pooled.shape[1]
    small.reset_classifier(3)
    assert small.global_pool.pool_type == pool
    assert small(x).shape == (2, 3)
    made = create(global_pool=pool)
    assert made.get_classifier().in_features == made.head_hidden_size == pooled.shape[1]


def test_impossible_heads_are_refused(small: CMT) -> None:
    with pytest.raises(ArchError, match="global_pool='mean' is unknown; use one of '', 'avg', "):
        small.reset_classifier(3, "mean")
    with pytest.raises(ArchError, match="num_classes=3 with global_pool='' has no pooled features"):
        small.reset_classifier(3, "")


def test_pooling_is_the_mean_over_the_map(small: CMT) -> None:
    x = images(small)
    with torch.no_grad():
        small.reset_classifier(0)
        pooled = small(x)
        small.reset_classifier(0, "")
        assert torch.allclose(small(x).mean((2, 3)), pooled, atol=1e-5)
    assert pooled.shape == (2, small.head_hidden_size)


@pytest.mark.parametrize(
    ("arguments", "shape"),
    [((0,), (2, 20)), ((0, ""), (2, 20, 2, 2)), ((5,), (2, 5)), ((5, "avg"), (2, 5))],
)
def test_resetting_the_classifier_changes_nothing_else(
    small: CMT, arguments: tuple[Any, ...], shape: tuple[int, ...]
) -> None:
    x, before = images(small), deepcopy(small.state_dict())
    features = small.forward_features(x)
    small.reset_classifier(*arguments)
    assert small.num_classes == small.arch.num_classes == arguments[0]
    assert small(x).shape == shape
    assert torch.equal(small.forward_features(x), features)
    after = small.state_dict()
    assert before.keys() - after.keys() <= {"head.weight", "head.bias"}
    for key in after.keys() - {"head.weight", "head.bias"}:
        assert torch.equal(after[key], before[key]), key


def test_a_classifier_comes_back_after_it_was_taken_away(small: CMT) -> None:
    small.double().train().reset_classifier(0, "")
    small.reset_classifier(3, "avg")
    head = small.get_classifier()
    assert isinstance(head, nn.Linear)
    assert head.training
    assert head.weight.dtype == torch.float64
    assert head.weight.std() > 0
    assert small(images(small)).shape == (2, 3)


def test_a_network_made_without_classes_or_pooling_gives_the_map_of_the_neck() -> None:
    model = create(num_classes=0, global_pool="").eval()
    assert isinstance(model.get_classifier(), nn.Identity)
    removed = create(device="meta").state_dict().keys() - model.state_dict().keys()
    assert removed == {"head.weight", "head.bias"}
    with torch.no_grad():
        assert model(images(model)).shape == (2, model.head_hidden_size, 2, 2)


def test_every_channel_of_images_of_the_size_asked_for_counts() -> None:
    model = create(in_chans=5, img_size=(32, 64)).eval()
    assert model.in_chans == model.get_submodule(model.default_cfg["first_conv"]).in_channels == 5
    assert model.input_size == (32, 64)
    x = images(model, count=1).expand(6, -1, -1, -1).clone()
    x[range(5), range(5)] += 1  # image i differs from the last in channel i alone
    with torch.no_grad():
        features = model.forward_features(x)
    assert features.shape[2:] == (1, 2)
    moved = (features[:5] - features[5]).abs().amax((1, 2, 3))
    assert moved.min() > 1e-4, moved


@pytest.mark.parametrize(("img_size", "size"), [(96, (96, 96)), ((64, 96), (64, 96))])
def test_img_size_decides_which_images_are_taken_and_the_tables(
    img_size: Any, size: tuple[int, int]
) -> None:
    model = create(img_size=img_size)
    assert model.input_size == size
    height, width = size
    queries = [(height // side) * (width // side) for side in (4, 8, 16, 32)]
    assert [table.position.shape[1:] for table in model.stages] == [
        (n, queries[3]) for n in queries
    ]
    assert model(images(model)).shape == (2, SMALL.num_classes)
    with pytest.raises(ArchError, match=f"64x64 pixels came to a model of {height}x{width}; call"):
        model(torch.empty(2, 3, 64, 64))


def test_timm_is_told_of_another_size() -> None:
    timm_input = pytest.importorskip("timm.models._input", reason="older timm does not ask")
    model = create(img_size=(64, 96), in_chans=2)
    assert timm_input.get_model_input_config(model)["input_size"] == (2, 64, 96)
    model.set_input_size((96, 64))
    assert timm_input.get_model_input_config(model)["input_size"] == (2, 96, 64)


def test_a_missing_or_an_unexpected_key_is_refused(small: CMT) -> None:
    state = small.state_dict()
    # torch itself does without num_batches_tracked, for files from before they existed.
    needed = [key for key in state if not key.endswith("num_batches_tracked")]
    for key in needed[::25]:
        fewer = {other: value for other, value in state.items() if other != key}
        with pytest.raises(RuntimeError, match=rf'Missing key\(s\) in state_dict: "{key}"'):
            small.load_state_dict(fewer)
    with pytest.raises(RuntimeError, match=r'Unexpected key\(s\) in state_dict: "stages.0.extra"'):
        small.load_state_dict({**state, "stages.0.extra": torch.zeros(1)})


def test_running_a_network_adds_nothing_to_its_state(small: CMT) -> None:
    keys = list(small.state_dict())
    small.train()(images(small)).sum().backward()
    small.eval()(images(small))
    assert list(small.state_dict()) == keys
    assert keys == list(create().state_dict())


@pytest.mark.parametrize("position", ["stage", "block", "none"])
def test_a_state_passes_through_safetensors(tmp_path: Path, position: str) -> None:
    arch = replace(SMALL, position=position)
    model, other = trained(create(arch=arch)), create(arch=arch).eval()
    save_model(model, str(tmp_path / "model.safetensors"))
    assert load_model(other, tmp_path / "model.safetensors") == (set(), [])
    assert torch.equal(other(images(model)), model(images(model)))


def test_a_copy_is_the_same_network_and_shares_nothing(small: CMT) -> None:
    copied, x = deepcopy(small), images(small)
    before = small(x)
    assert torch.equal(copied(x), before)
    with torch.no_grad():
        for tensor in copied.state_dict().values():
            tensor.zero_()
    assert torch.equal(small(x), before)


def test_device_and_precision_of_every_tensor_are_as_asked() -> None:
    model = create(device="meta", dtype=torch.float64)
    kinds = {(t.device.type, t.dtype) for t in (*model.parameters(), *model.buffers())}
    assert kinds == {("meta", torch.float64), ("meta", torch.int64)}  # a norm counts its batches
    half = create(dtype=torch.bfloat16).eval()
    assert half(images(half)).dtype == torch.bfloat16
    assert half(images(half)).isfinite().all()


@pytest.mark.parametrize("assign", [True, False])
def test_a_network_made_on_the_meta_device_is_whole_once_its_state_is_loaded(
    small: CMT, assign: bool
) -> None:
    other = create(device="meta").eval()
    if not assign:
        other.to_empty(device="cpu")
    other.load_state_dict(small.state_dict(), assign=assign)
    assert torch.equal(other(images(small)), small(images(small)))


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


@pytest.mark.parametrize(("norm", "stop_early"), [(False, False), (True, True)])
@pytest.mark.parametrize(
    ("indices", "stages"),
    [(None, [0, 1, 2, 3]), (3, [1, 2, 3]), ([0, 2], [0, 2]), ([-3, -2], [1, 2])],
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
    with pytest.raises(ArchError, match="output_fmt='NHWC' is not supported; use 'NCHW' or 'NLC'"):
        oblong.forward_intermediates(images(oblong), output_fmt="NHWC")


@pytest.mark.parametrize(("indices", "taken"), [([0], [0]), ([1, 2], [1, 2]), (2, [2, 3])])
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
    backbone = create(name, features_only=True, device="meta").eval()
    info, full = backbone.feature_info, PRESETS.get(name, SMALL)
    maps = backbone(torch.zeros(2, 3, 64, 64, device="meta"))
    assert info.reduction() == [4, 8, 16, 32]
    assert info.channels() == [stage.width for stage in full.stages] == [m.shape[1] for m in maps]
    assert [m.shape[2:] for m in maps] == [(64 // r, 64 // r) for r in info.reduction()]
    assert info.module_name() == ["stages.0", "stages.1", "stages.2", "stages.3"]


@pytest.mark.filterwarnings("ignore:NOTE. The nodes obtained by tracing")
@pytest.mark.parametrize("feature_cls", ["getter", "hook", "fx"])
@pytest.mark.parametrize(("out_indices", "stages"), [(None, [0, 1, 2, 3]), ((0, 2), [0, 2])])
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
