"""Writes docs/reference from the code: python docs/reference_pages.py."""

import ast
import dataclasses
import inspect
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import get_type_hints

import typer
from pydantic import BaseModel

from cmt_search.cli.app import build_app
from cmt_search.cost.config import BenchmarkConfig
from cmt_search.dataset_spec import DatasetSpec
from cmt_search.fields import describe
from cmt_search.recipe import Augment, Recipe, TwoPhase
from cmt_search.space import SearchSpace, schema

FOLDER = Path(__file__).parent / "reference"
NOTE = "<!-- written by docs/reference_pages.py; change the code instead -->\n\n"
SECTIONS: dict[str, type] = {
    "(top level)": SearchSpace,
    "base": schema.Base,
    "knobs": schema.Knobs,
    "knobs.depth, width, resolution, stem_width, neck_width": schema.Knob,
    "budgets": schema.Budgets,
    "caps": schema.Caps,
    "fidelities": schema.Fidelities,
    "sampler": schema.Sampler,
    "sampler.points": schema.Point,
    "latency": BenchmarkConfig,
    "proxy": schema.Proxy,
    "proxy.dataset": DatasetSpec,
    "proxy.recipe": Recipe,
    "proxy.recipe.augment": Augment,
    "proxy.recipe.two_phase": TwoPhase,
}


def pages() -> dict[str, str]:
    """Every page of the reference by its file's name."""
    return {"commands.md": NOTE + commands(), "space.md": NOTE + space(), "api.md": NOTE + api()}


def commands() -> str:
    """All commands, with their options as `--help` shows them."""
    group = typer.main.get_command(build_app())
    parts = ["# Commands\n"]
    for name, command in sorted(group.commands.items()):  # type: ignore[attr-defined]
        given = [p for p in command.params if p.param_type_name == "argument"]
        arguments = [p.metavar or str(p.name).upper() for p in given]
        parts.append(f"## {name}\n\n    cmt-search {' '.join([name, *arguments])} [OPTIONS]\n")
        parts.append(inspect.cleandoc(command.help or "") + "\n")
        rows = [
            (", ".join(f"`{flag}`" for flag in (*p.opts, *p.secondary_opts)), _default(p), p.help)
            for p in command.params
            if p.param_type_name == "option" and p.name != "help"
        ]
        parts.append(table(("option", "default", "what it does"), rows))
    return "\n".join(parts)


def space() -> str:
    """Every key of a space file."""
    parts = ["# Space files\n", "Keys by section; what is left out has its default.\n"]
    for where, kind in SECTIONS.items():
        parts.append(f"## {where}\n\n{_first_paragraph(kind)}\n")
        rows = [(f"`{key}`", *rest) for key, *rest in keys(kind)]
        parts.append(table(("key", "values", "default", "meaning"), rows))
    return "\n".join(parts)


def api() -> str:
    """The public modules, for mkdocstrings to fill in."""
    modules = (
        "study",
        "family",
        "arch",
        "presets",
        "cost",
        "scaling",
        "stats",
        "space",
        "builder",
        "proxy",
        "search",
        "analysis",
        "export",
        "evaluation",
        "recipe",
        "dataset_spec",
        "errors",
    )
    parts = [f"## cmt_search.{name}\n\n::: cmt_search.{name}\n" for name in modules]
    return "\n".join(("# Python\n", *parts))


def keys(kind: type) -> Iterator[tuple[str, str, str, str]]:
    """Yield name, values, default and comment of each field, from annotations and source."""
    hints = get_type_hints(kind, include_extras=True)
    for cls in reversed(kind.__mro__):
        fields = issubclass(cls, BaseModel) or dataclasses.is_dataclass(cls)
        if not fields or cls is BaseModel or cls.__module__.startswith("pydantic"):
            continue
        lines = textwrap.dedent(inspect.getsource(cls)).splitlines()
        (body,) = ast.parse("\n".join(lines)).body
        for node in body.body:  # type: ignore[attr-defined]
            if not isinstance(node, ast.AnnAssign):
                continue
            name = node.target.id  # type: ignore[union-attr]
            default = ast.unparse(node.value) if node.value else "needed"
            if not name.startswith("_"):
                yield name, describe(hints[name]), _plain(default, cls), _comment(lines, after=node)


def _comment(lines: list[str], *, after: ast.AnnAssign) -> str:
    """Return the comment behind a field, with the lines that continue it."""
    end = after.end_lineno or 1
    first = lines[end - 1].encode()[after.end_col_offset or 0 :].decode()
    parts = [first.partition("#")[2]]
    for line in lines[end:] if parts[0] else ():
        if not line.startswith("    #"):
            break
        parts.append(line.partition("#")[2])
    return " ".join(part.strip() for part in parts)


def table(head: tuple[str, ...], rows: list[tuple[object, ...]]) -> str:
    """A table in Markdown; nothing without rows."""
    if not rows:
        return ""
    lines = [head, ("---",) * len(head), *rows]
    cells = [
        [str(cell or "").replace("|", "\\|").replace("\n", " ") for cell in row] for row in lines
    ]
    return "\n".join("| " + " | ".join(row) + " |" for row in cells) + "\n"


def _plain(default: str, cls: type) -> str:
    """Return a default as a space file would write it."""
    if default.startswith("field(") or (default.endswith("()") and default != "()"):
        return "see below"
    if constant := re.search(r"\b[A-Z_]{2,}\b", default):
        value = getattr(inspect.getmodule(cls), constant[0])
        default = value if isinstance(value, str) else f"[{', '.join(value)}]"
    plain = {"None": "null", "True": "true", "False": "false", "()": "[]"}
    return f"`{plain.get(default, default)}`" if default != "needed" else default


def _default(parameter: object) -> str:
    value = getattr(parameter, "default", None)
    return "" if value is None or value is False else f"`{value}`"


def _first_paragraph(kind: type) -> str:
    return inspect.cleandoc(kind.__doc__ or "").split("\n\nRaises:")[0]


def main() -> None:
    """Write the pages."""
    FOLDER.mkdir(exist_ok=True)
    for name, text in pages().items():
        (FOLDER / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
