"""Batches of one image, and last stages of one pixel."""

import pytest
import torch

from cmt_search.builder import CMT
from cmt_search.presets import PRESETS
from tests.builder.registered import images, trained
from tests.builder.tiny import ONE_PIXEL, tiny

POSITIONS = ["stage", "block", "none"]


def assert_trains_on(model: CMT, *, count: int) -> None:
    model.train()(images(model, count=count)).square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
    assert model.get_parameter("stem.0.conv.weight").grad.abs().max() > 0  # type: ignore


@pytest.mark.parametrize("position", POSITIONS)
def test_one_image_trains_a_network(position: str) -> None:
    torch.manual_seed(0)
    assert_trains_on(tiny(position=position), count=1)


@pytest.mark.slow
def test_one_image_trains_cmt_ti() -> None:
    torch.manual_seed(0)
    assert_trains_on(CMT(PRESETS["cmt_ti"], input_size=(64, 64)), count=1)


@pytest.mark.parametrize("position", POSITIONS)
def test_two_images_train_a_network_whose_last_stage_is_one_pixel(position: str) -> None:
    torch.manual_seed(0)
    model = tiny(position=position, input_size=ONE_PIXEL)
    assert model.forward_features(images(model)).shape[2:] == (1, 1)
    assert_trains_on(model, count=2)


@pytest.mark.parametrize("position", POSITIONS)
def test_one_image_evaluates_where_the_last_stage_is_one_pixel(position: str) -> None:
    model = trained(tiny(position=position, input_size=ONE_PIXEL))
    batch = images(model)
    with torch.no_grad():
        assert torch.allclose(model(batch[:1]), model(batch)[:1], rtol=0, atol=1e-6)


def test_one_image_cannot_train_where_a_map_has_one_pixel() -> None:
    """A BatchNorm has nothing to average there, and says so as in every network."""
    model = tiny(input_size=ONE_PIXEL)
    with pytest.raises(ValueError, match="Expected more than 1 value per channel when training"):
        model(images(model, count=1))
