"""Exported variants under names of their own in timm."""

import re
import sys
import warnings
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

from cmt_search.errors import ExportError
from cmt_search.export import timm_folder
from cmt_search.export.family import is_family, read_family
from cmt_search.export.reader import load_variant
from cmt_search.export.variant import Variant
from cmt_search.export.yaml_io import read_mapping


def register(*paths: Path | str, prefix: str = "") -> tuple[str, ...]:
    """Register every member of families, and exported variants, with timm; returns their names.

    `timm.create_model(NAME)` builds them from then on, and with `pretrained=True` those that come
    from folders with weights. A name is the variant's behind `prefix`, in lower case, with `_` for
    what timm's names cannot hold: best-1.5G is best_1_5g.

    Raises:
        ExportError: a file is no export, two variants have one name, or timm has it already for
            another network.
    """
    found: dict[str, tuple[Variant, Path]] = {}
    for path in map(Path, paths):
        for variant in variants_in(path):
            name = timm_name(variant.name, prefix=prefix)
            if name in found:
                raise ExportError(
                    f"{path}: {variant.name} and {found[name][0].name} would both be {name} in "
                    "timm; register them with different prefixes"
                )
            found[name] = (variant, path)
    for name, (variant, _) in found.items():
        _check_free(name, variant)
    for name, (variant, path) in found.items():
        _register(name, variant, folder=path if path.is_dir() else None)
    return tuple(found)


def variants_in(path: Path) -> tuple[Variant, ...]:
    """The members of a family file, or the one variant of any other export.

    Raises:
        ExportError: it is neither.
    """
    if path.suffix in (".yaml", ".yml") and _is_family(path):
        return read_family(path)
    return (load_variant(path),)


def timm_name(name: str, *, prefix: str = "") -> str:
    """The name in timm's registry.

    Raises:
        ExportError: nothing of it is left.
    """
    plain = re.sub(r"[^0-9a-zA-Z]+", "_", prefix + name).strip("_").lower()
    if not plain or plain[0].isdigit():
        raise ExportError(
            f"{prefix + name!r} gives no name that timm takes; begin it with a letter, by a prefix"
        )
    return plain


def _is_family(path: Path) -> bool:
    with suppress(ExportError):  # whoever reads it next says what is wrong
        return is_family(read_mapping(path))
    return False


def _check_free(name: str, variant: Variant) -> None:
    import timm

    import cmt_search.builder  # noqa: F401 - its names are taken, too

    if timm.is_model(name):
        held = getattr(timm.model_entrypoint(name), "arch", None)
        if held != variant.arch:
            raise ExportError(
                f"timm has another network under {name!r}; register {variant.name} with a prefix"
            )


def _register(name: str, variant: Variant, *, folder: Path | None) -> None:
    """Give timm a function of this name; it knows networks by the functions that build them."""
    import timm

    from cmt_search.builder.cmt import cmt

    config = _config(folder)

    def build(pretrained: bool = False, **options: Any) -> Any:
        given = options.pop("pretrained_cfg", None) or config
        return cmt(pretrained, arch=variant.arch, pretrained_cfg=given, **options)

    build.__name__ = build.__qualname__ = name
    build.__doc__ = f"{variant.name}, exported by cmt_search; network {variant.arch.key}."
    build.arch = variant.arch  # type: ignore[attr-defined]
    if timm.is_model(name) and "file" not in (config or {}):
        return  # nothing new; weights, if any, stay
    build.__module__ = _home(name, config)
    with warnings.catch_warnings(action="ignore"):  # of a second registration, now with weights
        timm.models.register_model(build)


def _home(name: str, config: Mapping[str, Any] | None) -> str:
    """The module that timm takes the function to be from.

    It looks there for `default_cfgs`, and lists as pretrained what has weights in them.
    """
    home = f"{__package__}.registered"
    module: Any = sys.modules.setdefault(home, ModuleType(home, "What was registered with timm."))
    module.default_cfgs = {name: dict(config)} if config else {}
    return home


def _config(folder: Path | None) -> Mapping[str, Any] | None:
    """Return the pretrained config of an exported folder; None for other files."""
    if folder is None or not (folder / timm_folder.CONFIG).exists():
        return None
    config: dict[str, Any] = read_mapping(folder / timm_folder.CONFIG)["pretrained_cfg"]
    weights = folder / timm_folder.WEIGHTS
    return config | ({"file": str(weights)} if weights.exists() else {})
