"""Reading what was exported, whatever the format. Nothing in a file is run."""

from pathlib import Path
from typing import TYPE_CHECKING

from cmt_search.arch import Arch
from cmt_search.errors import ExportError
from cmt_search.export import as_onnx, as_timm, as_yaml, family, torch_export
from cmt_search.export.described import variant_in
from cmt_search.export.study import STUDY_FORMATS, read_study
from cmt_search.export.text import read_mapping
from cmt_search.export.variant import Variant

if TYPE_CHECKING:
    import pandas as pd

_STUDIES = {Path(how.file).suffix for how in STUDY_FORMATS.values()}
_WEIGHTS = {
    ".safetensors": "holds weights alone; give its folder, or use cmt_search.load_weights",
}
_READERS = {".onnx": as_onnx.read, torch_export.SUFFIX: torch_export.read}


def load(path: Path | str) -> "Arch | tuple[Variant, ...] | pd.DataFrame":
    """What an exported file or folder holds, in any format.

    An `Arch` from YAML, a folder for timm or the Hugging Face Hub or its config.json, ONNX, a
    program of torch.export, the folder of `cmt-search train`, and YAML that is an architecture
    alone; the members, by name, from the YAML of a family; the table of trainings from a study.
    `load_variant`, `read_family` and `read_study` take one kind only. Nothing in a file is run.

    Raises:
        ExportError: it cannot be read, or was changed since it was written; the field is named.
    """
    file = Path(path)
    if file.suffix in _STUDIES:
        return read_study(file)
    if file.is_dir() or file.suffix in (*_READERS, *_WEIGHTS):
        return load_variant(file).arch
    data = read_mapping(file)
    if data.get("format") == family.FORMAT:
        return family.variants_in_family(data, file=file)
    return variant_in(data, file=file).arch


def load_variant(path: Path | str) -> Variant:
    """The variant in an exported file or folder: the architecture, its name and provenance.

    Raises:
        ExportError: as `load`, and where it holds a family or a study.
    """
    file = Path(path)
    if file.is_dir():
        return _in_folder(file)
    if file.suffix in _WEIGHTS:
        raise ExportError(f"{file}: {_WEIGHTS[file.suffix]}")
    if file.suffix in _STUDIES:
        raise ExportError(f"{file}: is a study, not a network; use cmt_search.load")
    return _READERS.get(file.suffix, as_yaml.read)(file)


def _in_folder(folder: Path) -> Variant:
    trained = folder / "train.json"
    if trained.exists() and not (folder / as_timm.CONFIG).exists():
        return variant_in(read_mapping(trained), file=trained)
    return as_timm.read(folder)
