"""What timm asks of every model: config, head, input, and the state that is saved."""

from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_model, save_model
from timm.data import create_transform, resolve_model_data_config
from timm.utils import reparameterize_model
from torch import nn
from torchvision.transforms.functional import to_pil_image

from cmt_search.builder import CMT
from cmt_search.errors import ArchError
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


def test_the_classifier_is_what_makes_the_logits(model: CMT) -> None:
    x = images(model)
    with torch.no_grad():
        before, classifier = model(x), model.get_classifier()
        pooled = model.forward_head(model.forward_features(x), pre_logits=True)
        assert torch.allclose(before, pooled @ classifier.weight.T + classifier.bias, atol=1e-4)
        classifier.weight.zero_()
        classifier.bias.copy_(torch.arange(model.num_classes))
        assert torch.equal(model(x)[0], torch.arange(float(model.num_classes)))
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


def test_pooling_is_the_mean_over_the_map(model: CMT) -> None:
    x = images(model)
    with torch.no_grad():
        model.reset_classifier(0)
        pooled = model(x)
        model.reset_classifier(0, "")
        assert torch.allclose(model(x).mean((2, 3)), pooled, atol=1e-5)
    assert pooled.shape == (2, model.head_hidden_size)


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


@pytest.mark.parametrize("name", NAMES)
def test_a_network_made_without_classes_or_pooling_gives_the_map_of_the_neck(name: str) -> None:
    model = create(name, num_classes=0, global_pool="").eval()
    assert isinstance(model.get_classifier(), nn.Identity)
    removed = native(name).state_dict().keys() - model.state_dict().keys()
    assert removed == {"head.weight", "head.bias"}
    with torch.no_grad():
        assert model(images(model)).shape == (2, model.head_hidden_size, 2, 2)


@pytest.mark.parametrize("name", NAMES)
def test_every_channel_of_images_of_the_size_asked_for_counts(name: str) -> None:
    model = create(name, in_chans=5, img_size=(32, 64)).eval()
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


def test_another_size_works_after_set_input_size_and_the_old_one_does_not(model: CMT) -> None:
    x, frozen = images(model), model.stages[1]
    frozen.position.requires_grad = False
    model.set_input_size((96, 64))
    assert not frozen.position.requires_grad
    assert model.stages[2].position.requires_grad
    with torch.no_grad():
        assert model(images(model)).isfinite().all()
        assert model.forward_features(images(model)).shape[2:] == (3, 2)
        with pytest.raises(ArchError, match="an image of 64x64 pixels came to a model of 96x64"):
            model(x)


def test_setting_the_same_size_changes_nothing(small: CMT) -> None:
    before = dict(small.named_parameters())
    small.set_input_size((64, 64))
    small.set_input_size(64)
    after = dict(small.named_parameters())
    assert all(after[name] is before[name] for name in before)
    assert small.arch == SMALL


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
    for key in needed[::5]:
        fewer = {other: value for other, value in state.items() if other != key}
        with pytest.raises(RuntimeError, match=rf'Missing key\(s\) in state_dict: "{key}"'):
            small.load_state_dict(fewer)
    with pytest.raises(RuntimeError, match=r'Unexpected key\(s\) in state_dict: "stages.0.extra"'):
        small.load_state_dict({**state, "stages.0.extra": torch.zeros(1)})


def test_the_state_makes_the_same_network_of_another_one(small: CMT) -> None:
    other = create().eval()
    x = images(small)
    assert not torch.equal(other(x), small(x))
    other.load_state_dict(small.state_dict())
    assert torch.equal(other(x), small(x))
    assert all(torch.equal(other.state_dict()[k], v) for k, v in small.state_dict().items())


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
