"""ONNX: the same logits in ONNX Runtime, and the network described in the metadata."""

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import cmt_search
from cmt_search.errors import ExportError
from cmt_search.export import Source, export
from cmt_search.export.reader import load_variant
from tests.builder.tiny import TINY
from tests.export.conftest import variant, weights

ONE_STAGE = replace(TINY, resolution=12, stages=TINY.stages[:1])
onnx = pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Source, Path]:
    """A network with weights, and its file."""
    source = Source(variant=variant(ONE_STAGE), weights=weights(ONE_STAGE))
    return source, export(source, format="onnx", folder=tmp_path_factory.mktemp("onnx"))


def test_onnx_runtime_gives_the_logits_for_any_batch(exported: tuple[Source, Path]) -> None:
    source, path = exported
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert source.logits.std() > 0.05, "logits that hardly vary compare with nothing"
    for count in (1, 2, 3):
        (logits,) = session.run(["logits"], {"images": source.images[:count].numpy()})
        assert abs(logits - source.logits[:count].numpy()).max() < 1e-5


def test_the_network_comes_back_from_the_metadata(exported: tuple[Source, Path]) -> None:
    source, path = exported
    assert cmt_search.load(path) == ONE_STAGE
    assert load_variant(path) == source.variant
    model = onnx.load(path)
    assert {entry.domain: entry.version for entry in model.opset_import} == {"": 18}
    axes = [v.type.tensor_type.shape.dim[0] for v in (*model.graph.input, *model.graph.output)]
    assert [axis.dim_param for axis in axes] == ["batch", "batch"]
    told = {entry.key: entry.value for entry in model.metadata_props}
    assert told["cmt_search.weights"] == "Trained for this test."
    assert told["cmt_search.images"] == '{"mean": [0.28], "std": [0.35]}'


def no_metadata(model: Any) -> None:
    del model.metadata_props[:]


def set_metadata(name: str, old: str, new: str) -> Callable[[Any], None]:
    def change(model: Any) -> None:
        (entry,) = (e for e in model.metadata_props if e.key == f"cmt_search.{name}")
        assert old in entry.value
        entry.value = entry.value.replace(old, new)

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (set_metadata("variant", '"stage"', '"other"'), r"position='other'"),
        (set_metadata("variant", "{", "[" * 100_000), r"cmt_search\.variant: is broken"),
        (no_metadata, r"metadata cmt_search\.variant is missing"),
    ],
)
def test_an_impossible_description_is_refused_by_the_field(
    change: Callable[[Any], None], message: str, exported: tuple[Source, Path], tmp_path: Path
) -> None:
    file, model = tmp_path / "x.onnx", onnx.load(exported[1])
    change(model)
    onnx.save(model, file)
    with pytest.raises(ExportError, match=message) as caught:
        cmt_search.load(file)
    assert str(file) in str(caught.value)


@pytest.mark.parametrize("name", ["onnx", "onnxruntime", "onnxscript"])
def test_without_the_extra_the_message_says_how_to_get_it(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ExportError, match=rf"{name}.*pip install 'cmt-search\[onnx\]'"):
        export(Source(variant=variant(ONE_STAGE)), format="onnx", folder=tmp_path)
