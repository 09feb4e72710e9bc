"""YAML -> SearchSpace, with errors that name file, key path and remedy."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML

from cmt_search.errors import SpaceError
from cmt_search.io import atomic_write
from cmt_search.scaling import CATALOGUE, Shares
from cmt_search.space.explain import space_error
from cmt_search.space.schema import Proxy
from cmt_search.space.search_space import SearchSpace
from cmt_search.yaml_reader import parse_mapping, read_text

M = TypeVar("M", bound=BaseModel)


def load_space(path: Path | str) -> SearchSpace:
    """Read and validate a space file.

    Raises:
        SpaceError: it is missing, no YAML, or has impossible values; the message names the file,
            the key path and the remedy.
    """
    return parse_space(read_text(path, what="a space file"), source=str(path))


def parse_space(text: str, *, source: str) -> SearchSpace:
    """Parse and validate a file's text; `source` names it in errors.

    Raises:
        SpaceError: as `load_space`.
    """
    data = parse_mapping(text, source=source, begin="`kind: rule` and `base:`")
    return _validate(SearchSpace, data, source=source)


def load_training(path: Path | str) -> Proxy:
    """Read a recipe file: the keys of a space file's `proxy` section at its top, or a space file.

    Raises:
        SpaceError: as `load_space`.
    """
    text = read_text(path, what="a recipe file, such as recipes/proxy_long.yaml")
    data = parse_mapping(text, source=str(path), begin="`epochs:` and `recipe:`")
    if "kind" not in data:
        return _validate(Proxy, data, source=str(path))
    section = data.get("proxy", {})
    if not isinstance(section, dict):
        raise SpaceError(f"{path}: proxy: is not a mapping; write epochs and recipe below it")
    return _validate(Proxy, section, source=f"{path}: proxy")


def confirmation_space(
    space: SearchSpace, *, rules: Mapping[str, Shares], macs: float, seeds: int, times: int
) -> SearchSpace:
    """Derive the space that retrains `rules` at a held-out budget, on the test split.

    Trainings are `times` as long, with seeds that the search has not used.

    Raises:
        SpaceError: the search has no rules, or the budget is one of its own.
    """
    if space.kind != "rule":
        raise SpaceError(f"only a rule search can be confirmed; this one is a {space.kind} search")
    if any(abs(macs / budget - 1) < 0.05 for budget in space.budget_macs):
        raise SpaceError(
            f"budget {macs:,.0f} MACs was part of the search, so it is not held out; "
            "choose one that differs by more than 5%"
        )
    points = [
        {"name": name, "depth": s.depth, "width": s.width, "resolution": s.resolution}
        for name, s in rules.items()
        if name not in CATALOGUE
    ]
    # Without caps, which a larger budget may exceed.
    data = space.model_dump(mode="json", exclude={"trials", "fidelities", "caps"})
    proxy = data["proxy"]
    proxy["epochs"] = space.epoch_schedule[-1] * times
    proxy |= {k: proxy[k] * times for k in ("steps", "seconds") if proxy[k] is not None}
    proxy["dataset"]["split"] = "test"
    data |= {
        "budgets": [macs],
        "seeds": seeds,
        "seed": (space.seed + 500_000) % 2**31,  # far from every seed that the search used
        "sampler": {
            "name": "design",
            "lattice": 0,
            "replicates": 1,
            "rules": [name for name in rules if name in CATALOGUE],
            "points": points,
        },
    }
    return _validate(SearchSpace, data, source="confirmation")


def edit_space(file: Path, changes: Mapping[str, Any]) -> None:
    """Set values by their key paths, such as "proxy.epochs"; comments and layout are kept.

    Raises:
        SpaceError: the file is invalid, would become so, or cannot be written; it stays as it was.
    """
    load_space(file)
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 10_000  # keep long lines
    data = yaml.load(file.read_text(encoding="utf-8"))
    for path, value in changes.items():
        section, (*parents, key) = data, path.split(".")
        for name in parents:
            section = section.setdefault(name, {})
        section[key] = value
    text = io.StringIO()
    yaml.dump(data, text)
    parse_space(text.getvalue(), source=str(file))
    try:
        atomic_write(file, text.getvalue())
    except OSError as error:
        raise SpaceError(
            f"{file}: cannot be written ({error.strerror}); check its folder"
        ) from error


def _validate(model: type[M], data: Mapping[Any, Any], *, source: str) -> M:
    try:
        return model.model_validate(data)
    except ValidationError as failure:
        raise space_error(failure, model, source=source) from None
