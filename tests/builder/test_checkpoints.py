"""Checkpoints fitted to models: wrappers, averaged weights, classes, channels, sizes, tables."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from timm.models import adapt_input_conv
from torch import Tensor

from cmt_search.arch import Arch
from cmt_search.builder import CMT, load_checkpoint
from cmt_search.builder.checkpoint import checkpoint_filter, official_key
from cmt_search.errors import ArchError
from cmt_search.presets import PRESETS

PICO = PRESETS["cmt_pico"]
State = dict[str, Tensor]


def made(arch: Arch = PICO, *, seed: int = 3, **options: Any) -> CMT:
    torch.manual_seed(seed)
    return CMT(arch, **options).eval()


def as_official(state: Mapping[str, Tensor]) -> State:
    return {official_key(key): value for key, value in state.items()}


def prefixed(prefix: str) -> Callable[[State], State]:
    return lambda state: {prefix + key: value for key, value in state.items()}


def assert_same(model: CMT, state: Mapping[str, Tensor]) -> None:
    own = model.state_dict()
    assert own.keys() == state.keys()
    for key, value in own.items():
        assert torch.equal(value, state[key]), key


@pytest.mark.parametrize("keys", [dict, as_official], ids=["ours", "official"])
@pytest.mark.parametrize(
    "wrap",
    [
        dict,
        lambda state: {"model": state, "epoch": 3, "optimizer": {}},
        lambda state: {"state_dict": state, "state_dict_ema": None},
        lambda state: {"state_dict_ema": state},
        lambda state: {"model_ema": state},
        lambda state: {"model": {"state_dict": state}},
        prefixed("module."),
        prefixed("_orig_mod."),
        prefixed("module._orig_mod."),
        prefixed("_orig_mod.module."),
        lambda state: {"state_dict": prefixed("module.")(state)},
    ],
)
def test_wrappers_and_prefixes_come_off(
    wrap: Callable[[State], Any], keys: Callable[[State], State]
) -> None:
    state = made().state_dict()
    model = made(seed=4)
    assert load_checkpoint(model, wrap(keys(state))) == ()
    assert_same(model, state)


@pytest.mark.parametrize("name", ["state_dict_ema", "model_ema"])
@pytest.mark.parametrize("plain", ["state_dict", "model"])
def test_averaged_weights_come_first_unless_refused(name: str, plain: str) -> None:
    trained, averaged = made(seed=5).state_dict(), made(seed=6).state_dict()
    checkpoint = {plain: trained, name: averaged}
    model = made()
    load_checkpoint(model, checkpoint)
    assert_same(model, averaged)
    load_checkpoint(model, checkpoint, use_ema=False)
    assert_same(model, trained)


def test_averaged_weights_alone_are_not_taken_for_trained_ones() -> None:
    with pytest.raises(ArchError, match=r"checkpoint: .*\(content: model_ema, epoch\); give"):
        load_checkpoint(made(), {"model_ema": made().state_dict(), "epoch": 3}, use_ema=False)


def test_a_wrapper_around_something_else_is_named() -> None:
    with pytest.raises(ArchError, match=r"^checkpoint\['model'\]: .* \(content: bits, size\)"):
        load_checkpoint(made(), {"model": {"bits": 8, "size": 1}})


def test_a_wrapper_around_itself_and_keys_that_are_no_names_are_refused() -> None:
    wrapper: dict[str, Any] = {}
    wrapper["model"] = {"state_dict": wrapper}
    with pytest.raises(ArchError, match=r"no state dict found, .* \(content: model\)"):
        load_checkpoint(made(), wrapper)
    with pytest.raises(ArchError, match=r"no state dict found, .* \(content: 1\)"):
        load_checkpoint(made(), {1: torch.zeros(2)})


@pytest.mark.parametrize("classes", [7, 1000])
def test_a_head_of_other_classes_is_left_as_it_was_and_named(classes: int) -> None:
    source, model = made(), made(replace(PICO, num_classes=classes), seed=4)
    head = {key: value.clone() for key, value in model.head.state_dict().items()}
    assert load_checkpoint(model, source.state_dict()) == ("head.weight", "head.bias")
    body = {key: value for key, value in source.state_dict().items() if "head" not in key}
    assert_same(model, body | {f"head.{key}": value for key, value in head.items()})


def test_no_head_is_asked_of_a_checkpoint_or_given_to_a_model_without_classes() -> None:
    headless = replace(PICO, num_classes=0)
    model = made(headless, seed=4)
    assert load_checkpoint(model, made().state_dict()) == ()
    model = made(seed=4)
    assert load_checkpoint(model, made(headless).state_dict()) == ("head.weight", "head.bias")
    assert torch.equal(model.neck.conv.weight, made().neck.conv.weight)


@pytest.mark.parametrize(("old", "new"), [(3, 1), (3, 4), (3, 7)])
def test_a_first_convolution_takes_other_channels_as_in_timm(old: int, new: int) -> None:
    source = made(replace(PICO, in_chans=old))
    model = made(replace(PICO, in_chans=new), seed=4)
    assert load_checkpoint(model, source.state_dict()) == ()
    key = "stem.0.conv.weight"
    weight = adapt_input_conv(new, source.state_dict()[key])
    assert_same(model, source.state_dict() | {key: weight})


@pytest.mark.parametrize(("old", "new"), [(3, 1), (1, 3), (2, 6)])
def test_an_image_with_repeated_channels_keeps_its_logits(old: int, new: int) -> None:
    if old != 3:
        pytest.importorskip("timm.models._input", reason="older timm adapts three channels only")
    source, model = made(replace(PICO, in_chans=old)), made(replace(PICO, in_chans=new), seed=4)
    load_checkpoint(model, source.state_dict())
    image = torch.randn(2, 1, 14, 14)
    with torch.no_grad():
        wanted = source(image.expand(-1, old, -1, -1))
        assert torch.allclose(model(image.expand(-1, new, -1, -1)), wanted, atol=1e-5)


@pytest.mark.parametrize("keys", [dict, as_official], ids=["ours", "official"])
@pytest.mark.parametrize("size", [(14, 14), (20, 20), (28, 20), (9, 33)])
def test_tables_are_resized_to_the_size_of_the_model(
    size: tuple[int, int], keys: Callable[[State], State]
) -> None:
    source, model = made(), made(seed=4, input_size=size)
    assert load_checkpoint(model, keys(source.state_dict())) == ()
    source.set_input_size(size)
    assert_same(model, source.state_dict())


def test_a_table_of_an_odd_square_is_read_without_help() -> None:
    for side in range(1, 40):
        source, model = made(input_size=(side, side)), made(seed=4)
        load_checkpoint(model, dict(reversed(source.state_dict().items())))  # order says nothing
        source.set_input_size(14)
        assert_same(model, source.state_dict())


WIDE = (16, 64)  # has as many queries and keys in every stage as 32x32


@pytest.mark.parametrize("config", [None, (3, 32, 32)])
@pytest.mark.parametrize("trained_at", [WIDE, (32, 32)])
def test_tables_that_fit_several_sizes_need_their_size(trained_at: Any, config: Any) -> None:
    source, model = made(input_size=trained_at), made(seed=4, input_size=WIDE)
    if config:
        model.pretrained_cfg = {"input_size": config}
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(ArchError, match=r"fit 16x64 and 32x32 pixels; pass input_size="):
        load_checkpoint(model, source.state_dict())
    assert_same(model, before)
    load_checkpoint(model, source.state_dict(), input_size=trained_at)
    source.set_input_size(WIDE)
    assert_same(model, source.state_dict())


def test_a_checkpoint_of_256_pixels_is_not_copied_into_128_by_512() -> None:
    arch = replace(PRESETS["cmt_ti"], stages=PRESETS["cmt_ti"].stages[:1], resolution=256)
    source = made(arch)
    model = made(arch, seed=4, input_size=(128, 512))
    model.pretrained_cfg = {"input_size": (3, 256, 256)}
    assert model.stages[0].position.shape == source.stages[0].position.shape
    with pytest.raises(ArchError, match="fit 128x512 and 256x256 pixels; pass input_size="):
        load_checkpoint(model, source.state_dict())
    for weights in (as_official(source.state_dict()), source.state_dict()):
        size = (256, 256) if weights.keys() == source.state_dict().keys() else None
        load_checkpoint(model, weights, input_size=size)
        fitted = checkpoint_filter(weights, model)  # for timm the config describes the weights
        resized = made(arch)
        resized.set_input_size((128, 512))
        assert_same(model, resized.state_dict())
        assert torch.equal(fitted["stages.0.position"], resized.stages[0].position)


def test_the_size_in_the_config_is_tried() -> None:
    source, model = made(input_size=WIDE), made(seed=4)
    model.pretrained_cfg = {"input_size": [3, 16, 64]}  # a list, as in JSON
    with pytest.raises(ArchError, match=r"fit 16x64 and 32x32 pixels"):
        load_checkpoint(model, source.state_dict())
    source, model = made(input_size=(20, 28)), made(seed=4)
    model.pretrained_cfg = {"input_size": [3, 20, 28]}
    load_checkpoint(model, source.state_dict())
    source.set_input_size(14)
    assert_same(model, source.state_dict())


def test_a_rectangle_needs_its_size_and_the_message_says_so() -> None:
    source, model = made(input_size=(20, 28)), made(seed=4)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(
        ArchError, match=r"140x12, .*\) do not fit 14x14 or 22x22; pass input_size="
    ):
        load_checkpoint(model, source.state_dict())
    with pytest.raises(ArchError, match=r"49x4, .*\) do not fit 20x20; pass input_size="):
        load_checkpoint(model, made().state_dict(), input_size=(20, 20))
    assert_same(model, before)
    load_checkpoint(model, source.state_dict(), input_size=(20, 28))
    source.set_input_size(14)
    assert_same(model, source.state_dict())


@pytest.mark.parametrize("keys", [dict, as_official], ids=["ours", "official"])
def test_every_block_gets_the_table_of_its_stage(keys: Callable[[State], State]) -> None:
    source, model = made(), made(replace(PICO, position="block"), seed=4)
    assert load_checkpoint(model, keys(source.state_dict())) == ()
    state = model.state_dict()
    for key in state:
        if key.endswith("position"):
            shared = f"stages.{key.split('.')[1]}.position"
            assert torch.equal(state[key], source.state_dict()[shared]), key
    assert sum(key.endswith("position") for key in state) == PICO.depth
    images = torch.randn(2, 3, 14, 14)
    with torch.no_grad():
        assert torch.allclose(model(images), source(images), atol=1e-5)


def test_tables_of_blocks_are_resized_too() -> None:
    arch = replace(PICO, position="block")
    source, model = made(arch), made(arch, seed=4, input_size=(20, 28))
    assert load_checkpoint(model, source.state_dict()) == ()
    source.set_input_size((20, 28))
    assert_same(model, source.state_dict())


@pytest.mark.parametrize(
    ("saved", "built", "told"),
    [
        ("stage", "none", r"unexpected: stages\.0\.position, stages\.1\.position, "),
        ("block", "none", r"unexpected: stages\.0\.blocks\.0\.position, "),
        ("none", "stage", r"missing: stages\.0\.position, "),
        ("none", "block", r"missing: stages\.0\.blocks\.0\.position, "),
        (
            "block",
            "stage",
            r"missing: stages\.0\.position, .* unexpected: stages\.0\.blocks\.0",
        ),
    ],
)
def test_tables_are_neither_dropped_nor_left_fresh(saved: str, built: str, told: str) -> None:
    source, model = made(replace(PICO, position=saved)), made(replace(PICO, position=built))
    with pytest.raises(ArchError, match=told + r".*\(depths, kv_strides and position decide"):
        load_checkpoint(model, source.state_dict())


def test_networks_without_tables_load_at_any_size() -> None:
    arch = replace(PICO, position="none")
    source, model = made(arch), made(arch, seed=4, input_size=(20, 28))
    assert load_checkpoint(model, source.state_dict()) == ()
    assert_same(model, source.state_dict())


def test_a_table_of_other_heads_is_no_other_size() -> None:
    first, *others = PICO.stages
    model = made(replace(PICO, stages=(replace(first, heads=2), *others)))
    with pytest.raises(ArchError, match=r"stages\.0\.position has shape \(1, 49, 4\), the model "):
        load_checkpoint(model, made().state_dict())


def test_weights_of_another_precision_take_that_of_the_model() -> None:
    state = {key: value.half() for key, value in made().state_dict().items()}
    model = made(seed=4, input_size=(20, 20))
    load_checkpoint(model, state)
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert torch.equal(model.neck.conv.weight, made().neck.conv.weight.half().float())


def test_a_head_without_its_bias_is_an_error_and_not_another_number_of_classes() -> None:
    state = made(PICO).state_dict()
    del state["head.bias"]
    with pytest.raises(ArchError, match=r"\(missing: head\.bias\); build"):
        load_checkpoint(made(PICO), state)


def test_counts_of_batches_may_be_missing_and_empty_averages_are_passed_over() -> None:
    source, model = made(PICO), made(PICO, seed=4)
    state = {k: v for k, v in source.state_dict().items() if "num_batches_tracked" not in k}
    assert load_checkpoint(model, {"state_dict_ema": {}, "state_dict": state}) == ()
    assert_same(model, source.state_dict())
