"""YAML -> SearchSpace, with errors that name file, key path and remedy."""

import io
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap

from cmt_search.errors import CmtSearchError, SpaceError, closest_match
from cmt_search.io import atomic_path
from cmt_search.scaling import CATALOGUE, Shares
from cmt_search.space.schema import Proxy
from cmt_search.space.search_space import SearchSpace

M = TypeVar("M", bound=BaseModel)
_MERGE = "tag:yaml.org,2002:merge"  # `<<: *other`, which may repeat keys


class _UniqueKeys(yaml.SafeLoader):
    """Refuses a key that is written twice, of which YAML would silently drop one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode) or key_node.tag == _MERGE:
                continue
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                line = key_node.start_mark.line + 1
                raise SpaceError(f"line {line}: {key} is written twice; keep one of them")
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


def load_space(path: Path | str) -> SearchSpace:
    """Read and validate a space file.

    Raises:
        SpaceError: it is missing, is no YAML, or says something impossible; the message names the
            file, the key path and the remedy.
    """
    return parse_space(read_text(path, what="a space file"), source=str(path))


def read_text(path: Path | str, *, what: str) -> str:
    """What a file holds.

    Raises:
        SpaceError: it cannot be read.
    """
    file = Path(path)
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SpaceError(f"{file}: cannot be read ({error}); give the path of {what}") from None


def parse_space(text: str, *, source: str) -> SearchSpace:
    """The space that a file's text describes; `source` names it in errors.

    Raises:
        SpaceError: as `load_space`.
    """
    data = read_mapping(text, source=source, begin="`kind: rule` and `base:`")
    return validated(data, source=source)


def read_mapping(text: str, *, source: str, begin: str) -> dict[Any, Any]:
    """The mapping that a file's text is; `begin` says how such a file begins.

    Raises:
        SpaceError: it is no YAML, no mapping, or writes a key twice.
    """
    try:
        data = yaml.load(text, Loader=_UniqueKeys)  # noqa: S506 - derives from SafeLoader
    except yaml.YAMLError as error:
        raise SpaceError(f"{source}: is no YAML; mend this: {_told(error)}") from None
    except SpaceError as error:
        raise SpaceError(f"{source}: {error}") from None
    if not isinstance(data, dict):
        raise SpaceError(f"{source}: holds no mapping; begin with {begin}")
    return data


def _told(error: yaml.YAMLError) -> str:
    """What is wrong and where, on one line; YAML itself takes six."""
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return " ".join(str(error).split())
    told = f"line {mark.line + 1}, column {mark.column + 1}: {getattr(error, 'problem', '')}"
    context = getattr(error, "context", None)
    return f"{told} ({context})" if context else told


def validated(data: Mapping[Any, Any], *, source: str) -> SearchSpace:
    """The space that plain values describe; `source` names them in errors.

    Raises:
        SpaceError: as `load_space`.
    """
    return validated_as(SearchSpace, data, source=source)


def validated_as(model: type[M], data: Mapping[Any, Any], *, source: str) -> M:
    """The section that plain values describe; `source` names them in errors.

    Raises:
        SpaceError: as `load_space`.
    """
    try:
        return model.model_validate(data)
    except ValidationError as error:
        lines = [_explain(d, model) for d in error.errors() if not _is_of_other_branch(d)]
        raise SpaceError("\n".join(f"{source}: {line}" for line in dict.fromkeys(lines))) from None
    except CmtSearchError as error:
        raise SpaceError(f"{source}: {error}") from None


def _explain(detail: ErrorDetails, root: Any) -> str:
    """One pydantic error as `key.path: what; remedy`."""
    where = _path(detail["loc"])
    given = detail.get("input")
    match detail["type"]:
        case "extra_forbidden" | "unexpected_keyword_argument":
            return f"{where}: is unknown; {_nearest_key(detail['loc'], root)}"
        case "invalid_key":
            return f"{where}: is no name; remove it"
        case "missing" | "missing_keyword_only_argument":
            return f"{where}: is missing; add it"
        case "value_error":
            message = detail["msg"].removeprefix("Value error, ")
            return message if message.startswith(where) else f"{where}: {message}"
        case "literal_error":
            expected = detail.get("ctx", {}).get("expected", "")
            return f"{where}: {given!r} is not possible; use {expected}"
        case _:
            message = detail["msg"].removeprefix("Input should be ")
            return f"{where}: {given!r} is not possible; write {message}"


def _path(loc: tuple[int | str, ...]) -> str:
    text = ""
    for part in loc:
        if isinstance(part, int):
            text += f"[{part}]"
        elif part not in _BRANCHES and "[" not in part:
            text += f".{part}" if text else part
    return text


# Names of the alternatives of a union, which pydantic puts into the path of an error; so does it
# with validators, as `function-after[...]`.
_BRANCHES = {"RatioRange", "float", "int"}


def _is_of_other_branch(detail: ErrorDetails) -> bool:
    """Whether a mapping or list was refused only for not being the number that may stand there."""
    is_number = detail["loc"][-1:] in (("float",), ("int",))
    return is_number and isinstance(detail["input"], Mapping | list | tuple)


def _nearest_key(loc: tuple[int | str, ...], root: Any) -> str:
    """What may stand beside the unknown key, the likely one first."""
    model = root
    for part in loc[:-1]:
        fields = getattr(model, "model_fields", None) or getattr(model, "__dataclass_fields__", {})
        if part in fields:
            field = fields[part]
            model = getattr(field, "annotation", None) or getattr(field, "type", None)
    names = list(getattr(model, "model_fields", None) or getattr(model, "__dataclass_fields__", {}))
    if near := closest_match(str(loc[-1]), names):
        return f"did you mean {near}?"
    return f"remove it, or use one of {', '.join(names)}" if names else "remove it"


_WHAT = "a recipe file, such as recipes/proxy_long.yaml"


def load_training(path: Path | str) -> Proxy:
    """Read a recipe file: the keys of a space file's `proxy` section, at its top.

    A space file will do as well; then its `proxy` section is taken.

    Raises:
        SpaceError: it is missing, is no YAML, or says something impossible; the message names the
            file, the key path and the remedy.
    """
    data = read_mapping(
        read_text(path, what=_WHAT), source=str(path), begin="`epochs:` and `recipe:`"
    )
    of_space = "kind" in data
    section = data.get("proxy", {}) if of_space else data
    if not isinstance(section, dict):
        raise SpaceError(f"{path}: proxy holds no mapping; write epochs and recipe below it")
    try:
        return validated_as(Proxy, section, source=str(path))
    except SpaceError as error:  # recipes name their keys as space files do
        raise SpaceError(str(error) if of_space else str(error).replace(": proxy.", ": ")) from None


def confirmation_space(
    space: SearchSpace, *, rules: Mapping[str, Shares], macs: float, seeds: int, times: int
) -> SearchSpace:
    """The space that retrains `rules` at one held-out budget, on the test split, `times` as long.

    Raises:
        SpaceError: it is no rule search, or the budget is one that the search has seen.
    """
    if space.kind != "rule":
        raise SpaceError(f"only a rule search can be confirmed; this one is a {space.kind} search")
    if any(abs(macs / seen - 1) < 0.05 for seen in space.budget_macs):
        raise SpaceError(
            f"budget {macs:,.0f} MACs was part of the search, so it is not held out; "
            "choose one that differs by more than 5%"
        )
    points = [
        {"name": name, "depth": s.depth, "width": s.width, "resolution": s.resolution}
        for name, s in rules.items()
        if name not in CATALOGUE
    ]
    data = space.model_dump(mode="json", exclude_none=True)
    data["budgets"] = [macs]
    data["seeds"] = seeds
    data["seed"] = space.seed + 500_000  # far from every seed that the search used
    data["proxy"]["epochs"] = space.epoch_schedule[-1] * times
    for limit in ("steps", "seconds"):
        if limit in data["proxy"]:
            data["proxy"][limit] *= times
    data["proxy"]["dataset"]["split"] = "test"
    data["sampler"] = {
        "name": "design",
        "lattice": 0,
        "replicates": 1,
        "rules": [name for name in rules if name in CATALOGUE],
        "points": points,
    }
    for key in (
        "trials",
        "fidelities",
        "caps",
    ):  # caps are for members; a larger budget breaks them
        data.pop(key, None)
    return validated(data, source="confirmation")


_WIDTH = 10_000  # columns; lines are not wrapped anew


def edit_space(file: Path, changes: Mapping[str, Any]) -> None:
    """Set values by their key paths, such as "proxy.epochs"; sections that are missing are made.

    The new file is read as a space before it takes the old one's place.

    Raises:
        SpaceError: the file cannot be written, or the change makes it invalid; it stays as it was.
    """
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = _WIDTH
    data = yaml.load(file.read_text(encoding="utf-8"))
    for path, value in changes.items():
        _set(data, path.split("."), value)
    text = io.StringIO()
    yaml.dump(data, text)
    try:
        with atomic_path(file) as partial:
            partial.write_text(text.getvalue(), encoding="utf-8")
            load_space(partial)
    except OSError as error:
        raise SpaceError(f"{file} cannot be written ({error.strerror}); free it") from error


def _set(data: MutableMapping[str, Any], path: list[str], value: Any) -> None:
    *sections, last = path
    for name in sections:
        data = data.setdefault(name, CommentedMap())
    data[last] = value
