"""Checkpoints fitted to models: wrappers, averaged weights, classes, channels, sizes, tables."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from timm.models import adapt_input_conv
from torch import Tensor

from cmt_search.arch import Arch
from cmt_search.builder import CMT, build, load_checkpoint
from cmt_search.builder.checkpoint import official_key
from cmt_search.errors import ArchError
from cmt_search.presets import PRESETS

PICO = PRESETS["cmt_pico"]
State = dict[str, Tensor]


def made(arch: Arch = PICO, *, seed: int = 3, **options: Any) -> CMT:
    torch.manual_seed(seed)
    return build(arch, **options).eval()


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
        lambda state: {"ema": state},
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


@pytest.mark.parametrize("name", ["state_dict_ema", "model_ema", "ema"])
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
    with pytest.raises(ArchError) as error:
        load_checkpoint(made(), {"model_ema": made().state_dict(), "epoch": 3}, use_ema=False)
    assert str(error.value) == (
        "checkpoint: is no state dict and holds none under state_dict, model "
        "(it holds: model_ema, epoch); give the state dict itself"
    )


def test_a_wrapper_around_something_else_is_named() -> None:
    with pytest.raises(
        ArchError, match=r"^checkpoint\['model'\]: is no .* \(it holds: bits, size\)"
    ):
        load_checkpoint(made(), {"model": {"bits": 8, "size": 1}})


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


def test_tables_of_the_size_of_the_model_stay_though_a_square_would_fit_too() -> None:
    wide = (16, 64)  # as many queries and keys in every stage as 32x32 gives
    source, model = made(input_size=wide), made(seed=4, input_size=wide)
    load_checkpoint(model, source.state_dict())
    assert_same(model, source.state_dict())
    load_checkpoint(model, source.state_dict(), input_size=(32, 32))
    square = made(input_size=(32, 32))
    square.load_state_dict(source.state_dict())
    square.set_input_size(wide)
    assert_same(model, square.state_dict())


def test_the_config_of_timm_tells_a_size_only_where_the_size_of_the_model_does_not_fit() -> None:
    wide = (16, 64)
    source, model = made(input_size=wide), made(seed=4, input_size=wide)
    model.pretrained_cfg = {"input_size": (3, 32, 32)}  # fits the tables, and is not theirs
    load_checkpoint(model, source.state_dict())
    assert_same(model, source.state_dict())
    model = made(seed=4)
    model.pretrained_cfg = {"input_size": [3, 16, 64]}  # as JSON has it
    load_checkpoint(model, source.state_dict())
    source.set_input_size(14)
    assert_same(model, source.state_dict())


def test_a_rectangle_needs_its_size_and_the_message_says_so() -> None:
    source, model = made(input_size=(20, 28)), made(seed=4)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(ArchError) as error:
        load_checkpoint(model, source.state_dict())
    assert str(error.value) == (
        "checkpoint: its position tables (queries x keys: 140x12, 35x12, 12x12, 4x4) are those of "
        "no square image; pass input_size=(height, width) of the images that it was trained on, "
        "or to timm pretrained_cfg_overlay=dict(input_size=(channels, height, width))"
    )
    with pytest.raises(ArchError, match=r"140x12, .* are those of no image of 20x20 pixels; pass"):
        load_checkpoint(model, source.state_dict(), input_size=(20, 20))
    with pytest.raises(ArchError, match=r"49x4, .* are those of no image of 20x20 pixels; pass"):
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
        ("stage", "none", r"the model does not expect stages\.0\.position, stages\.1\.position, "),
        ("block", "none", r"the model does not expect stages\.0\.blocks\.0\.position, "),
        ("none", "stage", r"the model misses stages\.0\.position, "),
        ("none", "block", r"the model misses stages\.0\.blocks\.0\.position, "),
        ("block", "stage", r"misses stages\.0\.position, .* expect stages\.0\.blocks\.0\.position"),
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
    with pytest.raises(ArchError, match=r"the model misses head\.bias; build"):
        load_checkpoint(made(PICO), state)


def test_counts_of_batches_may_be_missing_and_empty_averages_are_passed_over() -> None:
    source, model = made(PICO), made(PICO, seed=4)
    state = {k: v for k, v in source.state_dict().items() if "num_batches_tracked" not in k}
    assert load_checkpoint(model, {"state_dict_ema": {}, "state_dict": state}) == ()
    assert_same(model, source.state_dict())
