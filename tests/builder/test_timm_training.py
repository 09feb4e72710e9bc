"""What timm asks for training: layer decay, weight decay, checkpointing, dropout, batches."""

from copy import deepcopy
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from timm.models import group_parameters
from timm.optim import create_optimizer_v2, param_groups_layer_decay
from torch import Tensor, nn

from cmt_search.builder import CMT
from cmt_search.builder.layers import Block
from tests.builder.registered import NAMES, SMALL, create, images, native, position_tables, trained

POSITIONS = ("stage", "block", "none")


def blocks(model: nn.Module) -> list[Block]:
    return [module for module in model.modules() if isinstance(module, Block)]


def names_in(optimizer: torch.optim.Optimizer, model: nn.Module) -> list[tuple[set[str], Any]]:
    """The names of the parameters of every group, with the group."""
    names = {parameter: name for name, parameter in model.named_parameters()}
    return [({names[p] for p in group["params"]}, group) for group in optimizer.param_groups]


def saved_and_gradients(model: CMT, x: Tensor) -> tuple[int, Tensor, dict[str, Tensor]]:
    """How many numbers a training step keeps for backward, its output and its gradients."""
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.data_ptr()] = tensor.numel()
        return tensor

    torch.manual_seed(3)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        out = model(x)
    total = sum(kept.values())  # before backward, which saves again
    out.square().sum().backward()
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return total, out, gradients


@pytest.mark.parametrize("name", NAMES)
def test_layers_are_the_stem_then_every_block_then_the_head(name: str) -> None:
    model = native(name)
    depths = [stage.depth for stage in model.arch.stages]
    blocks_before = [sum(depths[:i]) for i in range(len(depths))]

    def layer(parameter: str) -> int:
        part, *path = parameter.split(".")
        if part == "stem":
            return 0
        if part == "stages":
            stage = int(path[0])
            # A patch embedding and a shared table go with the first block of their stage.
            block = int(path[2]) if path[1] == "blocks" else 0
            return 1 + blocks_before[stage] + block
        return sum(depths) + (part == "head")  # the neck goes with the last block

    layers = group_parameters(model, model.group_matcher(), reverse=True)
    assert layers == {parameter: layer(parameter) for parameter, _ in model.named_parameters()}
    assert set(layers.values()) == set(range(sum(depths) + 2))


@pytest.mark.parametrize("name", NAMES)
def test_coarse_layers_are_the_stem_then_every_stage_then_neck_and_head(name: str) -> None:
    model = native(name)

    def layer(parameter: str) -> int:
        part, number = parameter.split(".")[:2]
        return {"stem": 0, "neck": 5, "head": 5}[part] if part != "stages" else 1 + int(number)

    layers = group_parameters(model, model.group_matcher(coarse=True), reverse=True)
    assert layers == {parameter: layer(parameter) for parameter, _ in model.named_parameters()}


def test_a_table_of_a_block_is_in_the_layer_of_its_block() -> None:
    model = create(arch=replace(SMALL, position="block"))
    layers = group_parameters(model, model.group_matcher(), reverse=True)
    for name, layer in layers.items():
        if name.endswith("position"):
            assert layer == layers[name.replace("position", "norm1.weight")], name
    assert layers["stages.2.blocks.1.position"] == 5


def test_layer_decay_slows_every_layer_more_than_the_one_after_it() -> None:
    model = create()
    groups = param_groups_layer_decay(
        model, 0.05, no_weight_decay_list=model.no_weight_decay(), layer_decay=0.5
    )
    names = {parameter: name for name, parameter in model.named_parameters()}
    scales = {names[p]: group["lr_scale"] for group in groups for p in group["params"]}
    decays = {names[p]: group["weight_decay"] for group in groups for p in group["params"]}
    assert sum(len(group["params"]) for group in groups) == len(scales) == len(names)
    depth = SMALL.depth
    assert scales["head.weight"] == 1
    assert scales["neck.conv.weight"] == scales["stages.3.blocks.0.attn.q.weight"] == 0.5
    assert scales["stages.2.patch_embed.proj.weight"] == 0.5**3
    assert scales["stages.2.position"] == 0.5**3
    assert scales["stem.0.conv.weight"] == 0.5 ** (depth + 1)
    along = [scales[name] for name in names.values() if name.endswith("lpu.conv.weight")]
    assert all(later == 2 * earlier for earlier, later in pairwise(along))
    assert {name for name, decay in decays.items() if decay == 0} == {
        name for name, p in model.named_parameters() if p.ndim == 1
    } | position_tables(model)


@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("decay_position", [False, True])
def test_the_optimizer_decays_tables_only_where_that_is_asked_for(
    position: str, decay_position: bool
) -> None:
    model = create(arch=replace(SMALL, position=position), decay_position=decay_position)
    tables = position_tables(model)
    assert len(tables) == {"stage": 4, "block": SMALL.depth, "none": 0}[position]
    assert model.no_weight_decay() == (set() if decay_position else tables)
    groups = names_in(create_optimizer_v2(model, opt="adamw", weight_decay=0.05), model)
    flat = {name for name, parameter in model.named_parameters() if parameter.ndim == 1}
    spared = {name for names, group in groups if group["weight_decay"] == 0 for name in names}
    decayed = {name for names, group in groups if group["weight_decay"] == 0.05 for name in names}
    assert spared == (flat if decay_position else flat | tables)
    assert decayed == {name for name, _ in model.named_parameters()} - spared


@pytest.mark.parametrize("name", NAMES)
def test_tables_are_spared_weight_decay_unless_told_otherwise(name: str) -> None:
    model = native(name)
    assert model.no_weight_decay() == position_tables(model)
    assert model.no_weight_decay() == {f"stages.{i}.position" for i in range(4)}


@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("drop_path_rate", [0.0, 0.5])
def test_checkpointing_keeps_less_and_changes_nothing(position: str, drop_path_rate: float) -> None:
    plain = trained(create(arch=replace(SMALL, position=position), drop_path_rate=drop_path_rate))
    thrifty, x = deepcopy(plain), images(plain, count=4)
    thrifty.set_grad_checkpointing()
    more, out, gradients = saved_and_gradients(plain.train(), x)
    less, same, again = saved_and_gradients(thrifty.train(), x)
    assert less < more / 2
    assert torch.equal(same, out)
    assert gradients.keys() == again.keys() == {name for name, _ in plain.named_parameters()}
    for name, gradient in gradients.items():
        assert torch.allclose(again[name], gradient, rtol=1e-4, atol=1e-6), name
    for name, buffer in plain.named_buffers():
        assert torch.equal(thrifty.get_buffer(name), buffer), name


def test_checkpointing_counts_an_average_over_all_batches_right(small: CMT) -> None:
    for norm in (module for module in small.modules() if isinstance(module, nn.BatchNorm2d)):
        norm.momentum = None  # how torch asks for the plain average
    thrifty, x = deepcopy(small), images(small, count=4)
    thrifty.set_grad_checkpointing()
    for model in (small.train(), thrifty.train()):
        for scale in (1, 2, 3):
            model(x * scale).sum().backward()
    for name, buffer in small.named_buffers():
        assert torch.equal(thrifty.get_buffer(name), buffer), name


def test_backward_may_run_twice_through_checkpointed_blocks(small: CMT) -> None:
    small.train()
    small.set_grad_checkpointing()
    loss = small(images(small)).square().sum()
    loss.backward(retain_graph=True)
    once = {name: p.grad.clone() for name, p in small.named_parameters() if p.grad is not None}
    loss.backward()
    for name, parameter in small.named_parameters():
        assert torch.allclose(parameter.grad, 2 * once[name], rtol=1e-4, atol=1e-5), name


def test_checkpointing_can_be_switched_off_again(small: CMT) -> None:
    x = images(small)
    more, _, _ = saved_and_gradients(small.train(), x)
    small.set_grad_checkpointing(True)
    less, _, _ = saved_and_gradients(small, x)
    small.set_grad_checkpointing(enable=False)
    assert saved_and_gradients(small, x)[0] == more > less


def test_checkpointing_compiles(small: CMT) -> None:
    plain = small.stages[0].train()
    compiled = deepcopy(plain)
    compiled.grad_checkpointing = True
    x = torch.randn(2, SMALL.stem_width, 32, 32)
    outputs = [plain(x), torch.compile(compiled, backend="aot_eager")(x)]
    assert torch.allclose(*outputs, atol=1e-5)
    for out in outputs:
        out.square().sum().backward()
    for name, parameter in plain.named_parameters():
        gradient = compiled.get_parameter(name).grad
        assert torch.allclose(gradient, parameter.grad, rtol=1e-3, atol=1e-4), name
    for name, buffer in plain.named_buffers():
        assert torch.allclose(compiled.get_buffer(name), buffer, atol=1e-6), name


def test_a_training_step_gives_every_parameter_a_gradient() -> None:
    model = create(num_classes=3, img_size=32)
    model(images(model)).square().sum().backward()
    for parameter, value in model.named_parameters():
        assert value.grad is not None, parameter
        assert value.grad.isfinite().all(), parameter


def test_dropout_acts_in_training_alone_and_on_what_the_classifier_takes(small: CMT) -> None:
    x = images(small)
    for rate in (0.0, 0.5):
        model = create(drop_rate=rate)
        model.load_state_dict(small.state_dict())
        features = model.eval().forward_features(x)
        pooled = model.forward_head(features, pre_logits=True)
        assert torch.equal(model.forward_head(features, pre_logits=True), pooled)
        model.head_drop.train()  # and not the norms
        dropped = model.forward_head(features, pre_logits=True)
        if rate == 0:
            assert torch.equal(dropped, pooled)
        else:
            zero = dropped == 0
            assert 0.2 < zero.float().mean() < 0.8
            assert torch.allclose(dropped[~zero], 2 * pooled[~zero])


@pytest.mark.parametrize("name", NAMES)
def test_drop_path_rises_from_nothing_to_its_rate(name: str) -> None:
    model = create(name, drop_path_rate=0.3, device="meta")
    rates = [block.drop_path.drop_prob for block in blocks(model)]
    assert rates == pytest.approx([0.3 * i / (len(rates) - 1) for i in range(len(rates))])
    assert len(rates) == model.arch.depth


def test_drop_path_acts_in_training_alone() -> None:
    for rate in (0.0, 0.5):
        model = trained(create(drop_rate=0.0, drop_path_rate=rate))
        x = images(model, count=8)
        assert torch.equal(model(x), model(x))
        model.train()
        assert torch.equal(model(x), model(x)) == (rate == 0)


def test_drop_path_drops_both_branches_and_scales_what_is_left(small: CMT) -> None:
    block, table = small.stages[0].blocks[0], small.stages[0].position
    x = torch.randn(64, 8, 16, 16)
    with torch.no_grad():
        local = block.lpu(x)
        attended = local + 2 * (_attention_branch(block, local, table))
        block.drop_path.drop_prob = 0.5
        block.drop_path.train()  # and not the norms
        out = block(x, table)
        fates = []
        for middle in (local, attended):
            branch = 2 * block.irffn(_normed(block.norm2, middle))
            fates += [_same_images(out, middle), _same_images(out, middle + branch)]
    assert torch.equal(torch.stack(fates).sum(0), torch.ones(64))  # each image has one fate of four
    assert all(fate.sum() > 4 for fate in fates)


def _normed(norm: nn.Module, x: Tensor) -> Tensor:
    return norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def _attention_branch(block: Block, x: Tensor, table: Tensor) -> Tensor:
    return block.attn(block.norm1(x.permute(0, 2, 3, 1)), table).permute(0, 3, 1, 2)


def _same_images(a: Tensor, b: Tensor) -> Tensor:
    return (a - b).abs().amax((1, 2, 3)).lt(1e-4).float()
