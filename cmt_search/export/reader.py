"""Read exported files of any format without running code in them."""

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cmt_search.arch import Arch
from cmt_search.errors import ArchError, ExportError
from cmt_search.export import family, onnx, timm_folder, torch_export
from cmt_search.export.study_tables import STUDY_FORMATS, read_study
from cmt_search.export.variant import Variant
from cmt_search.export.yaml_io import read_mapping

if TYPE_CHECKING:
    import pandas as pd

_STUDIES = {Path(how.file).suffix for how in STUDY_FORMATS.values()}
_WEIGHTS = {
    ".safetensors": "holds weights alone; give its folder, or use cmt_search.load_weights",
}
_TRAINING = "cmt_search.training/2"  # format of train.json of `cmt-search train`
_READERS = {".onnx": onnx.read, torch_export.SUFFIX: torch_export.read}


def load(path: Path | str) -> "Arch | tuple[Variant, ...] | pd.DataFrame":
    """Load an exported file or folder of any format.

    An `Arch` from YAML, a folder for timm or the Hugging Face Hub or its config.json, ONNX, a
    program of torch.export, the folder of `cmt-search train`, and YAML that is an architecture
    alone; the members, by name, from the YAML of a family; the table of trainings from a study.
    `load_variant`, `read_family` and `read_study` take one kind only. Nothing in a file is run.

    Raises:
        ExportError: it cannot be read, or a field is impossible; it is named.
    """
    file = Path(path)
    if file.suffix in _STUDIES:
        return read_study(file)
    if file.is_dir() or file.suffix in (*_READERS, *_WEIGHTS):
        return load_variant(file).arch
    data = read_mapping(file)
    if family.is_family(data):
        return family.parse_family(data, file=file)
    return parse_variant(data, file=file).arch


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
    if file.suffix in _READERS:
        return _READERS[file.suffix](file)
    return parse_variant(read_mapping(file), file=file)


def _in_folder(folder: Path) -> Variant:
    trained = folder / "train.json"
    if trained.exists() and not (folder / timm_folder.CONFIG).exists():
        return parse_variant(read_mapping(trained), file=trained)
    return timm_folder.read(folder)


def parse_variant(data: Mapping[str, Any], *, file: Path) -> Variant:
    """Read the variant in the values of a file, or an architecture alone.

    Raises:
        ExportError: they describe no network; the field is named.
    """
    if family.is_family(data):
        names = ", ".join(member.name for member in family.parse_family(data, file=file))
        raise ExportError(f"{file}: is a family; export one of its members ({names})")
    if timm_folder.BLOCK in data or "architecture" in data:
        return timm_folder.parse_config(data, file=file)
    if data.get("format") == _TRAINING:
        return _of_training(data, file=file)
    if not data.keys() & {field.name for field in fields(Arch)}:
        return Variant.from_dict({"name": file.stem, **data}, where=str(file))
    return Variant(name=file.stem, arch=_arch(data, file=file))


def _of_training(data: Mapping[str, Any], *, file: Path) -> Variant:
    plan = data.get("plan")
    if not isinstance(plan, Mapping) or "arch" not in plan:
        raise ExportError(f"{file}: plan.arch is missing; restore the file, or train again")
    return Variant(
        name=file.parent.name,
        arch=_arch(plan["arch"], file=file),
        provenance={"training": str(file)},
    )


def _arch(data: Any, *, file: Path) -> Arch:
    try:
        return Arch.from_dict(data)
    except ArchError as error:
        raise ExportError(f"{file}: {error}") from error
