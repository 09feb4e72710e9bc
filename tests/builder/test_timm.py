"""The networks in timm's registry, and folders that timm loads."""

import json
from argparse import Namespace
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.models import PretrainedCfg

from cmt_search.builder import CMT, timm_cfg
from cmt_search.builder.checkpoint import official_key
from cmt_search.errors import ArchError
from cmt_search.presets import PRESETS

PICO = replace(PRESETS["cmt_pico"], in_chans=1, num_classes=10)
RELEASES = "https://github.com/ggjy/CMT.pytorch"
FILES = {"cmt_ti": "cmt_tiny", "cmt_xs": "cmt_xs", "cmt_s": "cmt_small", "cmt_b": "cmt_base"}


def write_folder(folder: Path, **config: Any) -> None:
    """A folder as an export leaves it, without weights."""
    whole = {
        "architecture": "cmt",
        "model_args": {"arch": PICO.to_dict()},
        "pretrained_cfg": timm_cfg(PICO),
    }
    (folder / "config.json").write_text(json.dumps(whole | config))


@pytest.fixture
def pico_file(tmp_path: Path) -> Path:
    """A file of PICO's weights as the official training script saves them."""
    path = tmp_path / "pico.pth"
    weights = {official_key(key): value for key, value in CMT(PICO).state_dict().items()}
    torch.save({"model": weights, "args": Namespace(model="cmt_pico"), "epoch": 1}, path)
    return path


@pytest.fixture
def downloads(monkeypatch: pytest.MonkeyPatch, pico_file: Path) -> Iterator[list[dict[str, Any]]]:
    """What timm asks of torch.hub, which gives it PICO's file."""
    asked: list[dict[str, Any]] = []

    def load(url: str, **options: Any) -> Any:
        asked.append({"url": url, **options})
        return torch.load(
            pico_file, map_location=options["map_location"], weights_only=options["weights_only"]
        )

    monkeypatch.setattr("timm.models._builder.load_state_dict_from_url", load)
    return asked


def pico_from(source: Path | str, **options: Any) -> CMT:
    where = {"url": source} if isinstance(source, str) else {"file": str(source)}
    model = timm.create_model(
        "cmt", arch=PICO, pretrained=True, pretrained_cfg_overlay=where, **options
    )
    return model.eval()


def pico_in(file: Path) -> CMT:
    model = CMT(PICO)
    saved = torch.load(file, weights_only=False)["model"]
    model.load_state_dict({key: saved[official_key(key)] for key in model.state_dict()})
    return model.eval()


@pytest.mark.parametrize("name", FILES)
def test_the_presets_are_registered(name: str) -> None:
    with torch.device("meta"):
        model = timm.create_model(name)
    assert isinstance(model, CMT)
    assert model.arch == PRESETS[name]
    assert model.head_drop.p == 0
    assert model.pretrained_cfg["architecture"] == name
    assert model.default_cfg["input_size"] == (3, *model.input_size)
    assert model.get_submodule(model.pretrained_cfg["first_conv"]).in_channels == 3
    assert model.get_submodule(model.pretrained_cfg["classifier"]) is model.get_classifier()


def test_the_presets_are_listed_with_their_weights() -> None:
    names = ["cmt", "cmt_b", "cmt_s", "cmt_ti", "cmt_xs"]
    assert timm.list_models("cmt*") == timm.list_models(module="cmt") == names
    assert timm.list_pretrained("cmt*") == [
        "cmt_b.in1k",
        "cmt_s.in1k",
        "cmt_ti.in1k",
        "cmt_xs.in1k",
    ]


@pytest.mark.parametrize("name", FILES)
def test_the_config_of_a_preset_is_complete(name: str) -> None:
    with torch.device("meta"):
        config = timm.create_model(name).default_cfg
    side = PRESETS[name].resolution
    assert config == {
        "url": f"{RELEASES}/releases/download/release-v1/{FILES[name]}.pth",
        "architecture": name,
        "tag": "in1k",
        "custom_load": False,
        "input_size": (3, side, side),
        "fixed_input_size": True,
        "interpolation": "bicubic",
        "crop_pct": 0.875,
        "crop_mode": "center",
        "mean": (0.485, 0.456, 0.406),
        "std": (0.229, 0.224, 0.225),
        "num_classes": 1000,
        "pool_size": (side // 32, side // 32),
        "first_conv": "stem.0.conv",
        "classifier": "head",
        "license": "mit",
        "origin_url": RELEASES,
        "paper_ids": "arXiv:2107.06263",
    }


@pytest.mark.parametrize(("name", "tag"), [("cmt_xs", ""), ("cmt_s", ".in1k")])
def test_pretrained_weights_come_from_the_official_release(
    name: str, tag: str, downloads: list[dict[str, Any]]
) -> None:
    # PICO's weights fit no preset, and whose they are is said with the address.
    address = f"{RELEASES}/releases/download/release-v1/{FILES[name]}.pth"
    with torch.device("meta"), pytest.raises(ArchError, match=rf"^{address}: .*missing: "):
        timm.create_model(f"{name}{tag}", pretrained=True)
    (asked,) = downloads
    assert asked["url"] == address
    assert asked["weights_only"] is True


def test_a_download_in_official_form_fills_the_network(
    downloads: list[dict[str, Any]], pico_file: Path
) -> None:
    loaded, wanted = pico_from("https://example.org/pico.pth"), pico_in(pico_file)
    assert downloads[0]["url"] == "https://example.org/pico.pth"
    for key, value in loaded.state_dict().items():
        assert torch.equal(value, wanted.state_dict()[key]), key


@pytest.mark.slow
def test_a_preset_loads_a_local_file_of_its_release(tmp_path: Path) -> None:
    saved = CMT(PRESETS["cmt_ti"]).state_dict()
    file = tmp_path / "cmt_tiny.pth"
    torch.save({"model": {official_key(key): value for key, value in saved.items()}}, file)
    overlay = {"file": str(file)}
    loaded = timm.create_model("cmt_ti", pretrained=True, pretrained_cfg_overlay=overlay)
    for key, value in loaded.state_dict().items():
        assert torch.equal(value, saved[key]), key


def test_code_in_a_file_that_timm_reads_is_not_run(tmp_path: Path) -> None:
    class Touch:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "touched",)

    torch.save({"model": CMT(PICO).state_dict(), "hook": Touch()}, tmp_path / "model.pth")
    write_folder(tmp_path)
    with pytest.raises(RuntimeError, match="non-allowlisted"):
        pico_from(tmp_path / "model.pth")
    with pytest.raises(RuntimeError, match="non-allowlisted"):
        timm.create_model(f"local-dir:{tmp_path}", pretrained=True)
    assert not (tmp_path / "touched").exists()


def test_official_weights_load_at_another_size_with_other_channels_and_classes(
    pico_file: Path,
) -> None:
    pytest.importorskip("timm.models._input", reason="older timm adapts three channels only")
    loaded = pico_from(pico_file, img_size=(28, 20), num_classes=4, in_chans=3)
    wanted = pico_in(pico_file)
    wanted.set_input_size((28, 20))
    gray = torch.randn(2, 1, 28, 20)
    with torch.no_grad():
        features = loaded.forward_features(gray.expand(-1, 3, -1, -1))
        assert torch.allclose(features, wanted.forward_features(gray), atol=1e-5)
        assert loaded(gray.expand(-1, 3, -1, -1)).shape == (2, 4)


def test_official_weights_fill_a_backbone(pico_file: Path) -> None:
    maps = pico_from(pico_file, features_only=True)(images := torch.randn(2, 1, 14, 14))
    _, wanted = pico_in(pico_file).forward_intermediates(images)
    assert len(maps) == len(wanted) == 4
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(maps, wanted, strict=True))


def test_other_classes_do_not_let_missing_weights_pass(tmp_path: Path) -> None:
    weights = CMT(PICO).state_dict()
    del weights["neck.norm.bias"]
    torch.save(weights, tmp_path / "pico.pth")
    with pytest.raises(ArchError, match=r"pico\.pth: .*missing: neck\.norm\.bias\); build"):
        pico_from(tmp_path / "pico.pth", num_classes=4)


def test_the_config_tells_the_size_that_a_file_was_trained_at(tmp_path: Path) -> None:
    wide, square = (16, 64), (32, 32)  # as many queries and keys in every stage
    source = CMT(PICO, input_size=wide)
    torch.save(source.state_dict(), tmp_path / "wide.pth")
    loaded = timm.create_model(
        "cmt",
        arch=PICO,
        img_size=square,
        pretrained=True,
        pretrained_cfg_overlay={"file": str(tmp_path / "wide.pth"), "input_size": (1, *wide)},
    )
    source.set_input_size(square)
    for key, value in loaded.state_dict().items():
        assert torch.equal(value, source.state_dict()[key]), key


def test_an_unknown_tag_and_a_network_without_weights_are_refused_by_timm() -> None:
    with pytest.raises(RuntimeError, match=r"Invalid pretrained tag \(in21k\) for cmt_ti"):
        timm.create_model("cmt_ti.in21k")
    with pytest.raises(RuntimeError, match="No pretrained weights exist for cmt"):
        timm.create_model("cmt", arch=PICO, pretrained=True)


def test_a_config_of_ones_own_is_completed_from_the_network() -> None:
    with torch.device("meta"):
        model = timm.create_model("cmt_ti", pretrained_cfg={"num_classes": 5})
        assert model.arch == replace(PRESETS["cmt_ti"], num_classes=5)
        assert "url" not in model.pretrained_cfg
    model = timm.create_model("cmt", arch=PICO, pretrained_cfg=PretrainedCfg(num_classes=5))
    assert model.arch == replace(PICO, num_classes=5, in_chans=3)  # as that config says


def test_create_model_takes_the_usual_arguments() -> None:
    model = timm.create_model(
        "cmt_ti",
        num_classes=10,
        in_chans=1,
        img_size=192,
        drop_rate=0.2,
        drop_path_rate=0.1,
        device="meta",
    )
    wanted = replace(PRESETS["cmt_ti"], num_classes=10, in_chans=1, resolution=192)
    assert model.arch == wanted
    assert model.head_drop.p == 0.2
    assert model.stages[3].blocks[1].drop_path.drop_prob == pytest.approx(0.1)


@pytest.mark.parametrize("arch", [PICO, PICO.to_dict()], ids=["Arch", "dict"])
def test_cmt_builds_the_arch_that_it_is_given(arch: Any) -> None:
    assert timm.create_model("cmt", arch=arch).arch == PICO
    assert timm.create_model("cmt", arch=arch, num_classes=3).arch == replace(PICO, num_classes=3)


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
    state = CMT(PICO).state_dict()
    save_file(state, tmp_path / "model.safetensors")
    loaded = timm.create_model(f"local-dir:{tmp_path}", pretrained=True).state_dict()
    assert loaded.keys() == state.keys()
    assert all(torch.equal(loaded[key], state[key]) for key in state)


def test_every_listed_model_builds_without_arguments() -> None:
    for name in timm.list_models(module="cmt"):
        model = timm.create_model(name, device="meta")
        assert model.arch == PRESETS.get(name, PRESETS["cmt_ti"])


@pytest.mark.parametrize(
    ("arch", "resized", "classes"),
    [(PICO, False, None), (PICO.to_dict(), True, 0), (PICO, True, 4)],
)
def test_an_exported_network_comes_back(
    tmp_path: Path, arch: Any, resized: bool, classes: int | None
) -> None:
    pytest.importorskip("timm.models._input", reason="older timm exports no arguments")
    model = timm.create_model("cmt", arch=arch, in_chans=2, drop_path_rate=0.1).eval()
    if resized:
        model.set_input_size((28, 20))
    if classes is not None:
        model.reset_classifier(classes)
    assert_comes_back(model, tmp_path)


def test_a_preset_comes_back_at_the_size_that_it_was_exported_at(tmp_path: Path) -> None:
    pytest.importorskip("timm.models._input", reason="older timm exports no arguments")
    model = timm.create_model("cmt_ti", num_classes=3).eval()
    model.set_input_size((32, 64))
    assert_comes_back(model, tmp_path)


def assert_comes_back(model: CMT, folder: Path) -> None:
    timm.models.save_for_hf(model, folder, safe_serialization=True)
    loaded = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    assert loaded.arch == model.arch
    assert loaded.input_size == model.input_size
    images = torch.randn(2, model.in_chans, *model.input_size)
    with torch.no_grad():
        assert torch.equal(loaded(images), model(images))


def test_a_cfg_states_as_many_means_as_image_channels() -> None:
    assert len(timm_cfg(PICO)["mean"]) == 1
    assert timm_cfg(PRESETS["cmt_s"])["mean"] == (0.485, 0.456, 0.406)
