"""Programs of torch.export: torch alone runs them, and the description is read without loading."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch

import cmt_search
from cmt_search.errors import ExportError
from cmt_search.export import Source, export, load_variant, trained_in
from tests.builder.tiny import TINY
from tests.export.conftest import variant, weights

ALONE = """
import importlib.abc, sys

class Refuse(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.split(".")[0] in ("cmt_search", "timm", "torchvision", "safetensors", "yaml"):
            raise ImportError(name)

sys.meta_path.insert(0, Refuse())
import torch
images, logits = torch.load(sys.argv[2], weights_only=True)
model = torch.export.load(sys.argv[1]).module()
with torch.no_grad():
    given = torch.cat([model(part) for part in images.split([1, 2])])
print(float((given - logits).abs().max()), float(logits.std()))
"""


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Source, Path]:
    """A network with weights, and its file."""
    source = Source(variant=variant(), weights=weights())
    return source, export(source, format="pt2", folder=tmp_path_factory.mktemp("pt2"))


def test_torch_alone_gives_the_logits_for_any_batch(
    exported: tuple[Source, Path], tmp_path: Path
) -> None:
    source, path = exported
    torch.save((source.images, source.logits), tmp_path / "expected.pt")
    words = [sys.executable, "-I", "-c", ALONE, str(path), str(tmp_path / "expected.pt")]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    difference, spread = map(float, done.stdout.split())
    assert difference < 1e-5
    assert spread > 0.05, "logits that hardly vary compare with nothing"


def test_the_variant_comes_back_without_loading_the_program(
    exported: tuple[Source, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    source, path = exported
    monkeypatch.setattr("torch.export.load", None)
    monkeypatch.setattr("torch.load", None)
    assert cmt_search.load(path) == TINY
    assert load_variant(path) == source.variant
    assert trained_in(path) == "Trained for this test."
    with pytest.raises(ExportError, match="holds no weights that can be read back"):
        cmt_search.load_weights(path)


def test_the_file_names_no_path_of_this_machine(exported: tuple[Source, Path]) -> None:
    with zipfile.ZipFile(exported[1]) as archive:
        for name in archive.namelist():
            assert os.fsencode(Path.cwd()) not in archive.read(name), name


@pytest.mark.parametrize(
    "content", [b"", b"PK", "description", "twice"], ids=["empty", "short", "missing", "twice"]
)
def test_a_file_without_a_description_is_refused(content: bytes | str, tmp_path: Path) -> None:
    path = tmp_path / "x.pt2"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        with zipfile.ZipFile(path, "w") as archive:
            for folder in ("a", "b") if content == "twice" else ():
                archive.writestr(f"{folder}/extra/cmt_search.json", "{}")
    with pytest.raises(ExportError, match=r"x\.pt2: (cannot be read|cmt_search\.json is missing)"):
        cmt_search.load(path)
