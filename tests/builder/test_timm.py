"""The networks in timm's registry, and folders that timm loads."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file

from cmt_search.builder import CMT, build, timm_cfg
from cmt_search.errors import ArchError
from cmt_search.presets import PRESETS

PICO = replace(PRESETS["cmt_pico"], in_chans=1, num_classes=10)


def write_folder(folder: Path, **config: Any) -> None:
    """A folder as an export leaves it, without weights."""
    whole = {
        "architecture": "cmt",
        "model_args": {"arch": PICO.to_dict()},
        "pretrained_cfg": timm_cfg(PICO),
    }
    (folder / "config.json").write_text(json.dumps(whole | config))


@pytest.mark.parametrize(
    ("name", "drop_rate"), [("cmt_ti", 0.1), ("cmt_xs", 0.1), ("cmt_s", 0.1), ("cmt_b", 0.3)]
)
def test_the_presets_are_registered(name: str, drop_rate: float) -> None:
    with torch.device("meta"):
        model = timm.create_model(name)
    assert isinstance(model, CMT)
    assert model.arch == PRESETS[name]
    assert model.head_drop.p == drop_rate
    assert model.pretrained_cfg["architecture"] == name
    assert model.default_cfg["input_size"] == (3, *model.input_size)
    assert model.get_submodule(model.pretrained_cfg["first_conv"]).in_channels == 3
    assert model.get_submodule(model.pretrained_cfg["classifier"]) is model.get_classifier()


def test_create_model_takes_the_usual_arguments() -> None:
    model = timm.create_model(
        "cmt_ti", num_classes=10, in_chans=1, img_size=192, drop_rate=0.2, drop_path_rate=0.1
    )
    wanted = replace(PRESETS["cmt_ti"], num_classes=10, in_chans=1, resolution=192)
    assert model.arch == wanted
    assert model.head_drop.p == 0.2
    assert model.stages[3].blocks[1].drop_path.drop_prob == pytest.approx(0.1)
    with torch.no_grad():
        assert model.eval()(torch.zeros(1, 1, 192, 192)).shape == (1, 10)


def test_create_model_without_classes_or_pooling_gives_the_map() -> None:
    model = timm.create_model("cmt", arch=PICO, num_classes=0, global_pool="", img_size=(28, 20))
    assert model.eval()(torch.zeros(2, 1, 28, 20)).shape == (2, PICO.neck_width, 2, 2)


@pytest.mark.parametrize("arch", [PICO, PICO.to_dict()], ids=["Arch", "dict"])
def test_cmt_builds_the_arch_that_it_is_given(arch: Any) -> None:
    assert timm.create_model("cmt", arch=arch).arch == PICO
    assert timm.create_model("cmt", arch=arch, num_classes=3).arch == replace(PICO, num_classes=3)


def test_cmt_without_an_arch_says_what_it_needs() -> None:
    with pytest.raises(ArchError, match=r"timm's cmt needs arch=\.\.\.; give an Arch"):
        timm.create_model("cmt")


def test_a_folder_without_weights_builds_its_network(tmp_path: Path) -> None:
    write_folder(tmp_path)
    assert timm.create_model(f"local-dir:{tmp_path}").arch == PICO


def test_classes_in_the_config_go_before_those_of_the_arch(tmp_path: Path) -> None:
    write_folder(tmp_path, num_classes=5)
    assert timm.create_model(f"local-dir:{tmp_path}").arch == replace(PICO, num_classes=5)
    write_folder(tmp_path, num_classes=5, pretrained_cfg={})
    assert timm.create_model(f"local-dir:{tmp_path}").arch == replace(PICO, num_classes=5)
    seven = timm.create_model(f"local-dir:{tmp_path}", num_classes=7)
    assert seven.arch == replace(PICO, num_classes=7)


def test_a_folder_with_weights_gives_them_back(tmp_path: Path) -> None:
    write_folder(tmp_path)
    state = build(PICO).state_dict()
    save_file(state, tmp_path / "model.safetensors")
    loaded = timm.create_model(f"local-dir:{tmp_path}", pretrained=True).state_dict()
    assert loaded.keys() == state.keys()
    assert all(torch.equal(loaded[key], state[key]) for key in state)


def test_weights_load_at_another_size_with_other_channels_and_classes(tmp_path: Path) -> None:
    write_folder(tmp_path)
    source = build(PICO)
    save_file(source.state_dict(), tmp_path / "model.safetensors")
    loaded = timm.create_model(
        f"local-dir:{tmp_path}", pretrained=True, img_size=(28, 20), in_chans=3, num_classes=4
    )
    assert loaded.eval()(torch.zeros(1, 3, 28, 20)).shape == (1, 4)
    source.set_input_size((28, 20))
    for stage, resized in zip(loaded.stages, source.stages, strict=True):
        assert torch.equal(stage.get_parameter("position"), resized.get_parameter("position"))
    assert torch.equal(loaded.neck.conv.weight, source.neck.conv.weight)


def test_features_only_gives_the_stages_of_a_backbone() -> None:
    model = timm.create_model("cmt", arch=PICO, features_only=True, out_indices=(1, 3)).eval()
    maps = model(torch.zeros(2, 1, PICO.resolution, PICO.resolution))
    widths = [PICO.stages[1].width, PICO.stages[3].width]
    assert model.feature_info.channels() == [m.shape[1] for m in maps] == widths
    assert model.feature_info.reduction() == [4, 16]


def test_a_cfg_states_as_many_means_as_image_channels() -> None:
    assert len(timm_cfg(PICO)["mean"]) == 1
    assert timm_cfg(PRESETS["cmt_s"])["mean"] == (0.485, 0.456, 0.406)
