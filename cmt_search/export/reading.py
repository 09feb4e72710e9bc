"""Reading what was exported, whatever the format. Nothing in a file is run."""

from pathlib import Path

from cmt_search.arch import Arch
from cmt_search.errors import ExportError
from cmt_search.export import as_onnx, as_python, as_timm, as_yaml
from cmt_search.export.text import read_mapping, variant_in
from cmt_search.export.variant import Variant

_BINARY = {
    ".safetensors": "holds weights alone; give its folder, or use cmt_search.load_weights",
    ".pt": "holds weights alone; give the .py file beside it, or use cmt_search.load_weights",
    ".csv": "is the table of a study; use cmt_search.load_study",
    ".parquet": "is the table of a study; use cmt_search.load_study",
    ".db": "is a study; use cmt_search.load_study",
}


def load(path: Path | str) -> Arch:
    """The architecture in an exported file or folder, or in any file that holds one.

    Takes YAML, a folder for timm or the Hugging Face Hub or its config.json, ONNX, an exported
    Python module, the folder of `cmt-search train`, and YAML that is an architecture alone.
    Nothing in it is executed.

    Raises:
        ExportError: it cannot be read, or was changed since it was written; the field is named.
    """
    return load_variant(path).arch


def load_variant(path: Path | str) -> Variant:
    """The variant in an exported file or folder: the architecture, its name and provenance.

    Raises:
        ExportError: as `load`.
    """
    file = Path(path)
    if file.is_dir():
        return _in_folder(file)
    if file.suffix in _BINARY:
        raise ExportError(f"{file}: {_BINARY[file.suffix]}")
    if file.suffix == ".onnx":
        return as_onnx.read(file)
    if file.suffix == ".py":
        return as_python.read(file)
    return as_yaml.read(file)


def _in_folder(folder: Path) -> Variant:
    trained = folder / "train.json"
    if trained.exists() and not (folder / as_timm.CONFIG).exists():
        return variant_in(read_mapping(trained), file=trained)
    return as_timm.read(folder)
