"""A folder that `timm.create_model("local-dir:FOLDER")` builds, and that the Hub takes as it is."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cmt_search.errors import ExportError
from cmt_search.export.model_card import format_card
from cmt_search.export.source import Source
from cmt_search.export.variant import Variant
from cmt_search.export.verify import Rebuilt, rebuilt_module
from cmt_search.export.yaml_io import read_mapping

BLOCK = "cmt_search"  # of config.json: the variant without its arch, and the weights
CONFIG = "config.json"
WEIGHTS = "model.safetensors"
CARD = "README.md"
_IMAGENET = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}


def files(name: str) -> tuple[str, ...]:
    """Return the names of the files that `write` may write; weights before the config."""
    return (f"{name}/{WEIGHTS}", f"{name}/{CARD}", f"{name}/{CONFIG}")


def write(source: Source, folder: Path) -> None:
    """Write the config, the model card, and the weights if there are trained ones."""
    target = folder / source.variant.name
    target.mkdir()
    config = timm_config(source)
    config[BLOCK] = source.variant.to_dict()
    del config[BLOCK]["arch"]  # timm reads it from model_args
    if source.weights is not None:
        data = source.state_bytes()
        (target / WEIGHTS).write_bytes(data)
        config[BLOCK]["weights"] = source.weights_note(WEIGHTS, data)
    (target / CARD).write_text(format_card(source), encoding="utf-8")
    (target / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def read(path: Path) -> Variant:
    """The variant in such a folder, or in its config.json.

    Raises:
        ExportError: the field is named.
    """
    file = path / CONFIG if path.is_dir() else path
    return parse_config(read_mapping(file), file=file)


def parse_config(config: Mapping[str, Any], *, file: Path) -> Variant:
    """Read the variant in the values of a config.json.

    Raises:
        ExportError: a field is missing or impossible; it is named.
    """
    block, options = config.get(BLOCK), config.get("model_args")
    if not isinstance(block, Mapping):
        raise ExportError(f"{file}: {BLOCK} is missing; give a folder of `cmt-search export`")
    if not isinstance(options, Mapping) or "arch" not in options:
        raise ExportError(f"{file}: model_args.arch is missing; export the variant again")
    values = {name: value for name, value in block.items() if name != "weights"}
    arch = options["arch"]
    if isinstance(arch, Mapping) and "num_classes" in config:
        arch = {**arch, "num_classes": config["num_classes"]}  # as timm builds it
    return Variant.from_dict({**values, "arch": arch}, where=str(file))


def rebuild(path: Path, source: Source) -> Rebuilt:
    """The network as timm builds it; with the folder's weights where it has some."""
    import timm

    import cmt_search.builder  # noqa: F401 - registers the networks

    kept = (path / WEIGHTS).exists()
    module = timm.create_model(f"local-dir:{path}", pretrained=kept)
    if not kept:
        module.load_state_dict(source.model.state_dict())
    return rebuilt_module(module)


def timm_config(source: Source) -> dict[str, Any]:
    """Return the values that timm reads. Without `pretrained_cfg` it would drop `model_args`."""
    arch = source.variant.arch
    return {
        "architecture": "cmt",
        "num_classes": arch.num_classes,
        "num_features": arch.stages[-1].width,
        "model_args": {"arch": arch.to_dict()},
        "pretrained_cfg": {
            "num_classes": arch.num_classes,
            "input_size": [arch.in_chans, arch.resolution, arch.resolution],
            "fixed_input_size": True,
            "interpolation": "bicubic",
            "first_conv": "stem.0.conv",
            "classifier": "head",
            **_images_of(source),
        },
    }


def _images_of(source: Source) -> dict[str, Any]:
    """How images are to come: as the weights were trained, else as is usual for ImageNet."""
    chans, weights = source.variant.arch.in_chans, source.weights
    if weights is None:
        half = {"mean": [0.5] * chans, "std": [0.5] * chans}
        return {"crop_pct": 0.9, **(_IMAGENET if chans == 3 else half)}
    names = {"label_names": list(weights.classes)} if weights.classes else {}
    # The proxy sees whole validation images, resized.
    return {"crop_pct": 1.0, "mean": list(weights.mean), "std": list(weights.std), **names}
