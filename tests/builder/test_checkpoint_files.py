"""Checkpoint files: what is read, what is refused, and what the messages say."""

import re
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from cmt_search.builder import CMT, load_checkpoint
from cmt_search.builder.checkpoint import official_key
from cmt_search.errors import ArchError
from cmt_search.presets import PRESETS

PICO = PRESETS["cmt_pico"]


class Touch:
    """An object that creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def state() -> dict[str, torch.Tensor]:
    torch.manual_seed(3)
    return CMT(PICO).state_dict()


@pytest.mark.parametrize("official", [False, True])
@pytest.mark.parametrize("name", ["pico.pth", "pico.safetensors", "pico.pth.tar"])
def test_files_of_torch_and_of_safetensors_load(tmp_path: Path, name: str, official: bool) -> None:
    wanted = state()
    saved = {official_key(key) if official else key: value for key, value in wanted.items()}
    if name.endswith(".safetensors"):
        safetensors.torch.save_file(saved, tmp_path / name)
    else:
        torch.save({"model": saved}, tmp_path / name)
    for path in (tmp_path / name, str(tmp_path / name)):
        model = CMT(PICO)
        assert load_checkpoint(model, path) == ()
        for key, value in model.state_dict().items():
            assert torch.equal(value, wanted[key]), key


def test_the_arguments_of_a_training_script_may_stand_beside_the_weights(tmp_path: Path) -> None:
    path = tmp_path / "last.pth"
    torch.save({"model": state(), "args": Namespace(model="cmt_ti", lr=8e-4), "epoch": 7}, path)
    assert load_checkpoint(CMT(PICO), path) == ()
    with pytest.raises(Exception, match=r"argparse\.Namespace"):  # allowed for that reading alone
        torch.load(path, weights_only=True)


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_file_is_refused_and_not_run(tmp_path: Path, zipped: bool) -> None:
    path, touched = tmp_path / "evil.pth", tmp_path / "touched"
    content = {"model": state(), "hook": Touch(touched)}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(ArchError) as error:
        load_checkpoint(CMT(PICO), path)
    assert str(error.value).startswith(f"{path}: contains code")
    assert "save the tensors alone: torch.save(model.state_dict(), ...)" in str(error.value)
    assert not touched.exists()
    torch.load(path, weights_only=False)
    assert touched.exists()


def test_a_pickled_model_is_refused_by_name(tmp_path: Path) -> None:
    torch.save(CMT(PICO), tmp_path / "model.pth")
    with pytest.raises(ArchError, match=r"contains code \(cmt_search\.builder\.network\.CMT"):
        load_checkpoint(CMT(PICO), tmp_path / "model.pth")


@pytest.mark.parametrize("kept", [0.0, 0.5, 0.999])
@pytest.mark.parametrize("kind", ["zip", "old", "safetensors"])
def test_a_file_that_is_cut_short_is_said_to_be(tmp_path: Path, kind: str, kept: float) -> None:
    path = tmp_path / ("cut.safetensors" if kind == "safetensors" else "cut.pth")
    if kind == "safetensors":
        safetensors.torch.save_file(state(), path)
    else:
        torch.save(state(), path, _use_new_zipfile_serialization=kind == "zip")
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept * len(whole))])
    with pytest.raises(ArchError, match=rf"{path.name}: cannot be read; .*fetch it again"):
        load_checkpoint(CMT(PICO), path)


@pytest.mark.parametrize("content", [b"hello world\n", b"<html>404</html>", b"PK\x03\x04", b"\x80"])
@pytest.mark.parametrize("name", ["page.pth", "page.safetensors"])
def test_a_file_that_is_no_checkpoint_is_said_to_be(
    tmp_path: Path, name: str, content: bytes
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ArchError, match=rf"{path.name}: cannot be read; .*fetch it again"):
        load_checkpoint(CMT(PICO), path)


def test_a_path_that_leads_nowhere_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "none.pth", tmp_path / "none.safetensors"):
        with pytest.raises(ArchError, match=rf"^{re.escape(str(path))}: no such file; give"):
            load_checkpoint(CMT(PICO), path)
    with pytest.raises(ArchError, match="no such file; give the path"):
        load_checkpoint(CMT(PICO), tmp_path)


@pytest.mark.parametrize(
    ("content", "held"),
    [
        ({}, "nothing"),
        ({"epoch": 3, "optimizer": {}}, "epoch, optimizer"),
        ({"head.bias": torch.zeros(2), "epoch": 3}, "head.bias, epoch"),
        ({str(i): i for i in range(9)}, "0, 1, 2, 3, 4 and 4 more"),
    ],
)
def test_a_file_without_a_state_dict_is_told_what_it_holds(
    tmp_path: Path, content: object, held: str
) -> None:
    path = tmp_path / "other.pth"
    torch.save(content, path)
    with pytest.raises(ArchError, match=rf"{path.name}: .*\(content: {held}\); give"):
        load_checkpoint(CMT(PICO), path)
