"""What a built network does beyond the official code, and timm's interface of it."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from cmt_search.arch import Arch, Stage
from cmt_search.builder import CMT
from cmt_search.builder.layers import pad_to_multiple
from cmt_search.errors import ArchError
from cmt_search.presets import PRESETS

PICO = replace(PRESETS["cmt_pico"], resolution=16, in_chans=3, num_classes=10)


def images(model: CMT, *, count: int = 2) -> Tensor:
    torch.manual_seed(1)
    return torch.randn(count, model.in_chans, *model.input_size)


def with_statistics(model: CMT) -> CMT:
    """The model in eval mode, with running statistics as a training would leave them."""
    model.train()
    with torch.no_grad():
        model(images(model, count=8))
    return model.eval()


@pytest.mark.parametrize("size", [(1, 1), (17, 17), (13, 30), (1, 9), (16, 15)])
def test_any_side_works_and_stage_sizes_are_ceilings(size: tuple[int, int]) -> None:
    model = CMT(PICO, input_size=size).eval()
    _, maps = model.forward_intermediates(images(model))
    halves = [tuple(-(-side // 2 ** (i + 1)) for side in size) for i in range(4)]
    assert [tuple(m.shape[2:]) for m in maps] == halves
    assert model(images(model)).shape == (2, 10)


def test_key_strides_larger_than_the_map_leave_one_key() -> None:
    stage = Stage(depth=1, width=8, heads=2, kv_stride=7)
    model = CMT(Arch(resolution=6, stem_width=4, stages=(stage,), stem_stride=1)).eval()
    assert model.stages[0].get_parameter("position").shape == (2, 9, 1)
    assert model(images(model)).shape == (2, 1000)


def test_odd_maps_are_padded_with_zeros_at_the_bottom_and_the_right() -> None:
    padded = pad_to_multiple(torch.ones(1, 1, 3, 5), 4)
    assert padded.shape == (1, 1, 4, 8)
    assert padded[..., :3, :5].eq(1).all()
    assert padded.sum() == 15


def test_an_even_map_with_zeros_around_equals_the_odd_map() -> None:
    stage = Stage(depth=1, width=8, heads=1, kv_stride=2)
    arch = Arch(resolution=5, stem_width=4, stages=(stage,), stem_stride=1)
    torch.manual_seed(0)
    odd = CMT(arch, pos_std=0.0).eval().stages[0].get_submodule("patch_embed")
    x = torch.randn(1, 4, 5, 5)
    wide = nn.functional.pad(x, (0, 1, 0, 1))
    assert torch.equal(odd(x), odd(wide))


@pytest.mark.parametrize("in_chans", [1, 2, 5])
def test_any_number_of_image_channels_works(in_chans: int) -> None:
    model = CMT(replace(PICO, in_chans=in_chans)).eval()
    assert model(images(model)).shape == (2, 10)


def test_a_network_without_pixels_is_refused() -> None:
    with pytest.raises(ArchError, match=r"input_size=\(0, 4\) leaves no pixel; use at least 1"):
        CMT(PICO, input_size=(0, 4))


def test_output_of_an_image_does_not_depend_on_its_batch() -> None:
    model = with_statistics(CMT(PICO)).double()
    batch = images(model, count=3).double()
    together = model(batch)
    assert torch.allclose(together[1:2], model(batch[1:2]), rtol=0, atol=1e-12)
    assert not torch.allclose(together[0], together[1], atol=1e-6)


def test_backward_gives_a_gradient_to_every_parameter() -> None:
    model = CMT(PICO, input_size=(32, 32))  # one key alone would leave queries without gradient
    model(images(model, count=4)).square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        if not name.endswith("k.bias"):  # softmax is blind to a shift of all logits
            assert parameter.grad.abs().max() > 0, name


def test_images_in_either_memory_format_give_the_same_logits() -> None:
    model = CMT(PICO).eval()
    x = images(model)
    assert torch.equal(model(x), model(x.contiguous(memory_format=torch.channels_last)))


def test_initial_values_are_those_of_the_paper() -> None:
    torch.manual_seed(0)
    wide = Stage(depth=1, width=64, heads=1, kv_stride=2)
    model = CMT(Arch(resolution=32, stem_width=64, stages=(wide,), neck_width=512))
    weights = dict(model.named_parameters())
    scales = {
        "stages.0.position": 1.0,
        "head.weight": 0.02,
        "stages.0.blocks.0.attn.q.weight": 0.02,
        "neck.conv.weight": (2 / 512) ** 0.5,
        "stem.1.conv.weight": (2 / (64 * 9)) ** 0.5,
        "stages.0.blocks.0.lpu.conv.weight": (2 / (64 * 9)) ** 0.5,
    }
    for name, std in scales.items():
        assert weights[name].std().item() == pytest.approx(std, rel=0.12), name
    for name, weight in weights.items():
        if name.endswith("bias"):
            assert not weight.any(), name
        elif "norm" in name:
            assert weight.eq(1).all(), name


def test_pos_std_scales_the_position_tables() -> None:
    model = CMT(PICO, pos_std=0.02)
    table = model.stages[0].get_parameter("position")
    assert table.std().item() == pytest.approx(0.02, rel=0.1)


def test_equal_seeds_build_equal_networks() -> None:
    states = []
    for _ in range(2):
        torch.manual_seed(5)
        states.append(CMT(PICO).state_dict())
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


def test_the_arch_of_a_model_follows_its_changes() -> None:
    model = CMT(PICO)
    model.set_input_size(24)
    model.reset_classifier(7)
    assert model.arch == replace(PICO, resolution=24, num_classes=7)


def test_a_residual_scale_of_zero_silences_the_branches_and_one_changes_nothing() -> None:
    images = torch.randn(2, PICO.in_chans, PICO.resolution, PICO.resolution)
    outputs = {}
    for scale in (0.0, 1.0, None):
        torch.manual_seed(0)
        model = CMT(PICO) if scale is None else CMT(PICO, residual_scale=scale)
        block = model.stages[0].blocks[0].eval()
        x = torch.randn(2, PICO.stages[0].width, 8, 8)
        moved = block(x, model.stages[0].position) - block.lpu(x)
        outputs[scale] = (model.eval()(images), moved)
    assert torch.equal(outputs[1.0][0], outputs[None][0])
    assert outputs[0.0][1].abs().max() == 0
    assert outputs[1.0][1].abs().max() > 0
