"""What imports what: no circles, a light start, trainings without the libraries of the search."""

import ast
import subprocess
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "cmt_search"
HEAVY = {"torch", "timm", "ray", "optuna", "pandas", "plotly", "dash", "sklearn", "scipy"}
SEARCHING = {"ray", "optuna", "plotly", "pandas", "pydantic", "sklearn", "typer", "dash"}
TRAINING = ("builder", "cost", "scaling", "proxy")


def _name(file: Path) -> str:
    parts = file.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def _files() -> Mapping[str, Path]:
    return {_name(file): file for file in sorted(PACKAGE.rglob("*.py"))}


def _statements(body: list[ast.stmt], *, typing: bool) -> Iterator[ast.stmt]:
    """Statements that run on import, and those under TYPE_CHECKING where `typing`."""
    for statement in body:
        yield statement
        if isinstance(statement, ast.If):
            if typing or "TYPE_CHECKING" not in ast.unparse(statement.test):
                yield from _statements(statement.body, typing=typing)
            yield from _statements(statement.orelse, typing=typing)
        elif isinstance(statement, ast.Try):
            yield from _statements([*statement.body, *statement.orelse], typing=typing)


@cache
def _imports(module: str, *, typing: bool) -> frozenset[str]:
    """The modules that a module of the package names in its imports, but for those in functions."""
    tree = ast.parse(_files()[module].read_text(encoding="utf-8"))
    found: set[str] = set()
    for statement in _statements(tree.body, typing=typing):
        if isinstance(statement, ast.Import):
            found.update(alias.name for alias in statement.names)
        elif isinstance(statement, ast.ImportFrom):
            assert statement.level == 0, f"{module}: import by the full name"
            assert statement.module
            names = {f"{statement.module}.{alias.name}" for alias in statement.names}
            modules = names & _files().keys()
            found.update(modules or {statement.module})
    return frozenset(found - {module})


def _reached(start: str, *, typing: bool) -> frozenset[str]:
    """All modules that the imports of a module lead to, within the package and outside."""
    seen: set[str] = set()
    waiting = [start]
    while waiting:
        module = waiting.pop()
        if module in _files():
            new = _imports(module, typing=typing) - seen
            seen |= new
            waiting.extend(new)
    return frozenset(seen)


def test_no_modules_import_each_other_in_a_circle_even_for_types_alone() -> None:
    circles = {name for name in _files() if name in _reached(name, typing=True)}
    assert circles == set()


@pytest.mark.parametrize("package", TRAINING)
def test_what_runs_beside_a_training_imports_no_search_library(package: str) -> None:
    modules = [name for name in _files() if name.startswith(f"cmt_search.{package}")]
    for module in modules:
        top = {name.partition(".")[0] for name in _reached(module, typing=False)}
        assert not top & SEARCHING, module


@pytest.mark.slow
@pytest.mark.ci
def test_what_runs_beside_a_training_needs_no_search_library() -> None:
    code = (
        "import sys\n"
        f"for name in {SEARCHING!r}: sys.modules[name] = None\n"
        f"import {', '.join(f'cmt_search.{package}' for package in TRAINING)}\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("statement", ["import cmt_search", "import cmt_search.cli"])
def test_importing_is_light(statement: str) -> None:
    code = f"import sys; {statement}; print(sorted(set(sys.modules) & {HEAVY!r}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
