"""A variant as one Python file that needs torch alone, and is read without being run."""

import ast
import hashlib
import io
import re
from importlib.resources import files as package_files
from pathlib import Path
from pprint import pformat
from typing import Any

from cmt_search.cost import cost
from cmt_search.errors import CmtSearchError, ExportError
from cmt_search.export.rebuilding import Rebuilt, rebuilt_module
from cmt_search.export.source import Source
from cmt_search.export.variant import FORMAT, VERSION, Variant

_BLOCK = r"^# {0}: begin\.\n.*?^# {0}: end\.$"
_TOP = ("FORMAT", "VERSION", "NAME", "ARCH")
_END = ("PARAMS", "MACS", "ACTIVATIONS", "WEIGHTS", "PROVENANCE", "CODE", "KEY")


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
        ExportError: a constant is missing, or says what the network is not; it is named.
    """
    text = _text(path)
    found = constants(text, where=path)
    for name in (*_TOP, *_END):
        if name not in found:
            raise ExportError(
                f"{path}: {name} is missing, so the file was changed or cut short; "
                "export the variant again"
            )
    if found["CODE"] != _digest(text):
        raise ExportError(
            f"{path}: CODE={found['CODE']!r} is not the digest of the code in it: the file was "
            "changed; import it if you trust it, or export the variant again"
        )
    names = {name.lower(): found[name] for name in (*_TOP, *_END)}
    try:
        return Variant.from_dict(names, where=str(path))
    except ExportError:
        raise
    except (CmtSearchError, TypeError, ValueError, AttributeError) as error:
        raise ExportError(f"{path}: ARCH: {error}") from error


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
    """The literals that a module gives names to, parsed and never run.

    Raises:
        ExportError: it is no Python.
    """
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError) as error:
        raise ExportError(f"{where}: is broken ({error}); export the variant again") from None
    found = {}
    for node in tree.body:
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        value = getattr(node, "value", None)
        if isinstance(target, ast.Name) and target.id in (*_TOP, *_END) and value is not None:
            try:
                found[target.id] = ast.literal_eval(value)
            except (ValueError, TypeError, MemoryError, RecursionError):
                raise ExportError(
                    f"{where}: {target.id} is no plain value, so the file was changed; "
                    "export the variant again"
                ) from None
    return found


def _code(variant: Variant, *, weights: dict[str, Any] | None) -> str:
    template = (package_files("cmt_search.export") / "network.py").read_text(encoding="utf-8")
    arch, whole = variant.arch, cost(variant.arch)
    top = {"FORMAT": FORMAT, "VERSION": VERSION, "NAME": variant.name, "ARCH": arch.to_dict()}
    end = {
        "PARAMS": whole.params,
        "MACS": whole.macs,
        "ACTIVATIONS": whole.activations,
        "WEIGHTS": weights,
        "PROVENANCE": dict(variant.provenance),
        "CODE": _digest(template),
        "KEY": arch.key,
    }
    text = _with_block(template, "Constants", top)
    return _with_block(text, "Facts", end)


def _with_block(text: str, title: str, values: dict[str, Any]) -> str:
    lines = [f"{name} = {pformat(v, width=90, sort_dicts=False)}" for name, v in values.items()]
    block = "\n".join((f"# {title}: begin.", *lines, f"# {title}: end."))
    pattern = re.compile(_BLOCK.format(title), re.MULTILINE | re.DOTALL)
    return pattern.sub(lambda _: block, text, count=1)


def _digest(text: str) -> str:
    """Of the code around the two blocks of constants."""
    for title in ("Constants", "Facts"):
        text = re.sub(_BLOCK.format(title), "", text, count=1, flags=re.MULTILINE | re.DOTALL)
    return hashlib.sha256(text.encode()).hexdigest()


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ExportError(f"{path}: cannot be read ({error}); give an exported file") from None
