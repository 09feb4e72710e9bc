"""A variant as one Python file that needs torch alone, and is read without being run."""

import ast
import hashlib
import io
import re
import warnings
from collections.abc import Iterator
from importlib.resources import files as package_files
from pathlib import Path
from pprint import pformat
from typing import Any

from cmt_search.errors import ExportError
from cmt_search.export.noted import check_noted
from cmt_search.export.rebuilding import Rebuilt, rebuilt_module
from cmt_search.export.source import Source
from cmt_search.export.text import read_text
from cmt_search.export.variant import HINT, Variant

_BLOCK = r"^# {0}: begin\.\n(.*?)^# {0}: end\.$"
_BLOCKS = ("Constants", "Facts")
_TOP = ("format", "version", "name", "arch")  # of the first block: what the code in the file needs


def module_name(name: str) -> str:
    """The name under which Python imports the file of a variant."""
    plain = re.sub(r"\W", "_", name, flags=re.ASCII)
    return plain if plain.isidentifier() else f"cmt_{plain}"


def files(name: str) -> tuple[str, ...]:
    """What `write` may write: weights, if there are any, and the module."""
    return (f"{module_name(name)}.pt", f"{module_name(name)}.py")


def write(source: Source, folder: Path) -> None:
    """Write the module, and beside it trained weights as torch.save keeps them."""
    variant = source.variant
    name = module_name(variant.name)
    note = None
    if source.weights is not None:
        import torch

        buffer = io.BytesIO()
        torch.save(dict(source.model.state_dict()), buffer)
        (folder / f"{name}.pt").write_bytes(buffer.getvalue())
        note = source.weights_note(f"{name}.pt", buffer.getvalue())
    (folder / f"{name}.py").write_text(_code(variant, weights=note), encoding="utf-8")


def read(path: Path) -> Variant:
    """The variant that the constants of the file describe; no code in it is run.

    Raises:
        ExportError: a constant is missing or was changed, or the code was; it is named.
    """
    text = read_text(path)
    found = {name.lower(): value for name, value in constants(text, where=path).items()}
    variant = Variant.from_dict(found, where=str(path))
    if found.get("code") != _sha256(text):
        raise ExportError(
            f"{path}: CODE={found.get('code')!r:.80} is not the checksum of the code: the file was "
            "changed; import it if you trust it, or export the variant again"
        )
    check_noted(found.get("weights"), description=path)
    return variant


def rebuild(path: Path, source: Source) -> Rebuilt:
    """The network as the file that was just written builds it."""
    names: dict[str, Any] = {"__name__": "exported"}
    code = compile(_code(source.variant, weights=None), str(path), "exec")
    exec(code, names)  # noqa: S102 - what is run was made here, not read
    weights = path.with_suffix(".pt")
    if weights.exists():
        return rebuilt_module(names["create"](str(weights)))
    module = names["create"]()
    module.load_state_dict(source.model.state_dict())
    return rebuilt_module(module)


def constants(text: str, *, where: Path) -> dict[str, Any]:
    """The literals in the two blocks by their names, parsed and never run.

    Raises:
        ExportError: a block is gone, is no Python, or holds more than constants.
    """
    found: dict[str, Any] = {}
    for title in _BLOCKS:
        block = re.search(_BLOCK.format(title), text, flags=re.MULTILINE | re.DOTALL)
        if block is None:
            raise ExportError(
                f"{where}: the block {title} is missing: the file was modified or truncated; {HINT}"
            )
        for name, value in _assigned(block[1], where=where):
            if name in found:
                raise ExportError(f"{where}: {name} comes twice: keep one of them, or {HINT}")
            found[name] = value
    return found


def _assigned(code: str, *, where: Path) -> Iterator[tuple[str, Any]]:
    """Name and value of every line of a block."""
    try:
        with warnings.catch_warnings(action="ignore"):  # of syntax that is odd, in a damaged file
            lines = ast.parse(code).body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ExportError(f"{where}: is broken ({error}); {HINT}") from None
    for line in lines:
        targets = line.targets if isinstance(line, ast.Assign) else []
        target = targets[0] if len(targets) == 1 else None
        if not isinstance(line, ast.Assign) or not isinstance(target, ast.Name):
            held = ast.get_source_segment(code, line) or ""
            raise ExportError(
                f"{where}: holds {held!r:.60} among its constants, so it was changed; {HINT}"
            )
        try:
            yield target.id, ast.literal_eval(line.value)
        except (ValueError, TypeError, MemoryError, RecursionError):
            raise ExportError(
                f"{where}: {target.id} is no plain value, so it was changed; {HINT}"
            ) from None


def _code(variant: Variant, *, weights: dict[str, Any] | None) -> str:
    text = (package_files("cmt_search.export") / "network.py").read_text(encoding="utf-8")
    values = variant.to_dict(weights=weights, code=_sha256(text))
    top = {name: values.pop(name) for name in _TOP}
    for title, block in zip(_BLOCKS, (top, values), strict=True):
        text = _with_block(text, title, block)
    return text


def _with_block(text: str, title: str, values: dict[str, Any]) -> str:
    lines = [f"{name.upper()} = {_literal(value)}" for name, value in values.items()]
    block = "\n".join((f"# {title}: begin.", *lines, f"# {title}: end."))
    pattern = re.compile(_BLOCK.format(title), re.MULTILINE | re.DOTALL)
    return pattern.sub(lambda _: block, text, count=1)


def _literal(value: Any) -> str:
    return pformat(value, width=90, sort_dicts=False)


def _sha256(text: str) -> str:
    """Of the code around the two blocks of constants."""
    for title in _BLOCKS:
        text = re.sub(_BLOCK.format(title), "", text, count=1, flags=re.MULTILINE | re.DOTALL)
    return hashlib.sha256(text.encode()).hexdigest()
