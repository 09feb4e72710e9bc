"""A variant as ONNX: image size fixed, any batch; its description travels in the metadata."""

import json
import logging
import re
import warnings
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cmt_search.errors import ExportError
from cmt_search.export.source import Source
from cmt_search.export.variant import Variant
from cmt_search.export.verify import Rebuilt
from cmt_search.export.yaml_io import parsed_json

if TYPE_CHECKING:
    from torch import Tensor

OPSET = 18
_VARIANT, _ORIGIN, _IMAGES = "cmt_search.variant", "cmt_search.weights", "cmt_search.images"


def files(name: str) -> tuple[str, ...]:
    """What `write` may write."""
    return (f"{name}.onnx",)


def write(source: Source, folder: Path) -> None:
    """Write `NAME.onnx`: input `images` (batch, channels, side, side), output `logits`.

    Raises:
        ExportError: the extra `onnx` is not installed.
    """
    onnx = _library("onnx")
    _library("onnxruntime")
    _library("onnxscript")
    path = folder / f"{source.variant.name}.onnx"
    _export(source, path)
    model = onnx.load(path)
    metadata = {_ORIGIN: source.origin}
    if source.weights is not None:
        images = {"mean": source.weights.mean, "std": source.weights.std}
        metadata[_IMAGES] = json.dumps(images)
    metadata[_VARIANT] = json.dumps(source.variant.to_dict())
    onnx.helper.set_model_props(model, metadata)
    _name_batch_axis(model)
    onnx.save(model, path)


def read(path: Path) -> Variant:
    """The variant in the metadata.

    Raises:
        ExportError: the file is damaged, or is not from `cmt-search export`.
    """
    onnx = _library("onnx")
    broken = _library("google.protobuf.message").DecodeError
    try:
        model = onnx.load(path, load_external_data=False)
    except (OSError, broken) as error:
        raise ExportError(
            f"{path}: cannot be read ({error}); it is cut short or no ONNX file: "
            "export the variant again"
        ) from None
    texts = [entry.value for entry in model.metadata_props if entry.key == _VARIANT]
    if len(texts) != 1:
        raise ExportError(
            f"{path}: metadata {_VARIANT} is missing; give a file of `cmt-search export`"
        )
    where = f"{path}: metadata {_VARIANT}"
    return Variant.from_dict(parsed_json(texts[0], where=where), where=where)


def rebuild(path: Path, _source: Source) -> Rebuilt:
    """The network as ONNX Runtime runs it, once onnx's checker has passed it."""
    _library("onnx").checker.check_model(str(path), full_check=True)
    runtime = _library("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3  # errors
    session = runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def logits(images: "Tensor") -> "Tensor":
        """Of a batch of one and of the rest as another: the batch is free."""
        import torch

        parts = (images[:1].numpy(), images[1:].numpy())
        found = [session.run(None, {"images": part})[0] for part in parts]
        return torch.cat([torch.tensor(part) for part in found])

    return Rebuilt(logits=logits)


def _export(source: Source, path: Path) -> None:
    """Export the graph, without the progress output and warnings of torch's exporter."""
    import torch

    batch = torch.export.Dim("batch")
    images = source.images
    level = logging.getLogger("torch.onnx").level
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        try:
            torch.onnx.export(
                torch.export.export(source.model, (images,), dynamic_shapes=({0: batch},)),
                (images,),
                path,
                dynamo=True,
                opset_version=OPSET,
                input_names=["images"],
                output_names=["logits"],
                external_data=False,
                verbose=False,
            )
        finally:
            logging.getLogger("torch.onnx").setLevel(level)


def _name_batch_axis(model: Any) -> None:
    """Call the free axis `batch`: torch's own name for it is a symbol such as `s77`."""
    symbol = model.graph.input[0].type.tensor_type.shape.dim[0].dim_param
    values = (*model.graph.input, *model.graph.output, *model.graph.value_info)
    for value in values:
        for axis in value.type.tensor_type.shape.dim:
            if axis.dim_param:
                axis.dim_param = re.sub(rf"\b{symbol}\b", "batch", axis.dim_param)


def _library(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        raise ExportError(
            f"ONNX needs {name}, which is not installed ({error}); "
            "run pip install 'cmt-search[onnx]'"
        ) from None
