"""ONNX: the same logits in ONNX Runtime, and the network described in the metadata."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest

import cmt_search
from cmt_search.errors import ExportError
from cmt_search.export import Source, export
from cmt_search.export.reading import load_variant
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
    told = {entry.key: entry.value for entry in model.metadata_props}
    assert told["cmt_search.weights"] == "Trained for this test."
    assert told["cmt_search.images"] == '{"mean": [0.28], "std": [0.35]}'


def test_a_changed_or_truncated_file_is_refused(
    exported: tuple[Source, Path], tmp_path: Path
) -> None:
    file, whole = tmp_path / "x.onnx", exported[1].read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ExportError, match=r"x\.onnx: cannot be read|metadata .* is missing"):
        cmt_search.load(file)
    model = onnx.load(exported[1])
    model.graph.initializer[0].name = "other"
    onnx.save(model, file)
    with pytest.raises(ExportError, match=r"graph is not the one that cmt_search\.graph_sha256"):
        cmt_search.load(file)
    model = onnx.load(exported[1])
    told = {entry.key: entry.value for entry in model.metadata_props}
    onnx.helper.set_model_props(
        model,
        {**told, "cmt_search.variant": told["cmt_search.variant"].replace('"stage"', '"none"')},
    )
    onnx.save(model, file)
    with pytest.raises(ExportError, match=r"key='\w+', but its arch gives"):
        cmt_search.load(file)
    del model.metadata_props[:]
    onnx.save(model, file)
    with pytest.raises(ExportError, match=r"metadata cmt_search\.variant is missing"):
        cmt_search.load(file)


@pytest.mark.parametrize("name", ["onnx", "onnxruntime", "onnxscript"])
def test_without_the_extra_the_message_says_how_to_get_it(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ExportError, match=rf"needs {name}.*pip install 'cmt-search\[onnx\]'"):
        export(Source(variant=variant(ONE_STAGE)), format="onnx", folder=tmp_path)
