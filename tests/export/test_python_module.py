"""The Python file: torch alone, the same keys, the same logits."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from cmt_search.builder import CMT
from cmt_search.errors import ExportError
from cmt_search.export import Source, as_python, export, network
from cmt_search.export.as_python import module_name
from tests.builder.registered import SMALL
from tests.builder.tiny import TINY
from tests.export.conftest import variant, weights, with_position

ALONE = """
import importlib.abc, importlib.util, sys

class Refuse(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.split(".")[0] in ("cmt_search", "timm", "torchvision", "safetensors", "yaml"):
            raise ImportError(name)

sys.meta_path.insert(0, Refuse())
spec = importlib.util.spec_from_file_location("exported", sys.argv[1])
exported = importlib.util.module_from_spec(spec)
spec.loader.exec_module(exported)
import torch
images, logits = torch.load(sys.argv[3], weights_only=True)
with torch.no_grad():
    given = exported.create(sys.argv[2]).eval()(images)
print(float((given - logits).abs().max()), float(logits.std()))
"""


def imported(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location("exported", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_it_gives_the_logits_where_neither_cmt_search_nor_timm_can_be_imported(
    learned: Source, tmp_path: Path
) -> None:
    path = export(learned, format="python", folder=tmp_path)
    torch.save((learned.images, learned.logits), tmp_path / "expected.pt")
    files = map(str, (path, path.with_suffix(".pt"), tmp_path / "expected.pt"))
    done = subprocess.run(
        [sys.executable, "-I", "-c", ALONE, *files], capture_output=True, text=True, check=True
    )
    apart, spread = map(float, done.stdout.split())
    assert apart < 1e-5
    assert spread > 0.05, "logits that hardly vary compare with nothing"


@pytest.mark.parametrize("position", ["stage", "block", "none"])
def test_it_starts_as_the_builder_starts(position: str, tmp_path: Path) -> None:
    arch = with_position(position)
    module = imported(export(Source(variant=variant(arch)), format="python", folder=tmp_path))
    torch.manual_seed(7)
    ours = CMT(arch, pos_std=0.02).state_dict()
    torch.manual_seed(7)
    its = module.create(pos_std=0.02).state_dict()
    assert list(its) == list(ours)
    assert all(torch.equal(its[key], value) for key, value in ours.items())


def test_it_trains_as_the_builder_trains(tmp_path: Path) -> None:
    source = Source(variant=variant(SMALL), weights=weights(SMALL))
    path = export(source, format="python", folder=tmp_path)
    its = imported(path).create(str(path.with_suffix(".pt"))).train()
    ours = source.model.train()
    for model in (ours, its):
        model(source.images).square().sum().backward()
    for (name, a), (_, b) in zip(ours.named_parameters(), its.named_parameters(), strict=True):
        assert a.grad is not None
        assert torch.allclose(a.grad, b.grad, rtol=1e-3, atol=1e-4), name


def test_stochastic_depth_drops_whole_branches(tmp_path: Path) -> None:
    block = imported(export(Source(variant=variant()), format="python", folder=tmp_path)).Block(
        {"width": 8, "heads": 2, "kv_stride": 1, "mlp_ratio": 2.0, "qk_ratio": 1.0}, 0.25, None
    )
    torch.manual_seed(0)
    kept = block.train().dropped(torch.ones(4000, 1, 1, 1)).flatten()
    assert kept.unique().tolist() == [0.0, pytest.approx(4 / 3)]
    assert kept.mean() == pytest.approx(1, abs=0.05)
    assert torch.equal(block.eval().dropped(torch.ones(3, 1, 1, 1)), torch.ones(3, 1, 1, 1))


@pytest.mark.parametrize(
    ("name", "module"), [("best-1.5G", "best_1_5G"), ("cmt_s", "cmt_s"), ("64M", "cmt_64M")]
)
def test_the_module_can_be_imported_by_its_name(name: str, module: str) -> None:
    assert module_name(name) == module


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("KEY = ", "import os\nKEY = ", "holds 'import os' among its constants"),
        ("KEY = ", "print(1)\nKEY = ", r"holds 'print\(1\)' among its constants"),
        ("KEY = ", "KEY = ''\nKEY = ", "KEY comes twice"),
        ("KEY = ", "MORE = KEY = ", "holds .MORE = KEY = .* among its constants"),
        ("KEY = ", "x.y = 1" + "+1" * 500 + "\nKEY = ", r"holds 'x\.y = 1\+1"),
        ("KEY = ", "KEY = f'{1}' or ", "KEY is no plain value"),
        ("KEY = ", "KEY = " + "-" * 50_000, "is broken|KEY is no plain value"),
        ("KEY = ", "KEY = (", "is broken"),
        ("'rule': 'dwr'", "'rule': 'mine'", "mismatch in field 'provenance'"),
        ("VERSION = 2", "VERSION = 1", "version=1 was written by an older version"),
        ("# Facts: end.", "", "the block Facts is missing: the file was modified or truncated"),
        ("math.ceil", "math.floor", r"CODE='\w+' is not the checksum of the code"),
    ],
)
def test_a_changed_module_is_refused_by_the_constant(
    old: str, new: str, message: str, fresh: Source, tmp_path: Path
) -> None:
    as_python.write(fresh, tmp_path)
    path = tmp_path / "best_1_5G.py"
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))
    with pytest.raises(ExportError, match=message) as caught:
        as_python.read(path)
    assert str(path) in str(caught.value)


def test_the_template_is_itself_a_network() -> None:
    model = network.create().eval()
    assert model(torch.zeros(1, 1, 14, 14)).shape == (1, 10)
    assert TINY.num_classes == 5
