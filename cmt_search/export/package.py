"""A small installable package that registers exported variants with timm."""

import keyword
import re
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, metadata
from importlib.util import find_spec
from pathlib import Path

from cmt_search.errors import ExportError
from cmt_search.export import as_timm, as_yaml
from cmt_search.export.formats import export
from cmt_search.export.registering import timm_name
from cmt_search.export.source import Source
from cmt_search.export.staging import publish

_PROJECT = """\
[build-system]
requires = ["setuptools>=68"]
build-backend = "setuptools.build_meta"

[project]
name = "{project}"
version = "0.1.0"
description = "Registers {count} exported by cmt_search with timm"
requires-python = ">=3.11"
dependencies = ["cmt-search", "timm"]

[tool.setuptools]
packages = ["{module}"]

[tool.setuptools.package-data]
"{module}" = ["*.yaml", "*/config.json", "*/model.safetensors"]
"""
_HEAD = '"""Importing this registers its networks with timm'
_MODULE = (
    _HEAD
    + '''\
: {names}."""

from pathlib import Path

from cmt_search import register

_HERE = Path(__file__).parent
NAMES = register(*(_HERE / name for name in {paths!r}))
'''
)
_README = """\
# {project}

```console
$ pip install .
```

```python
import timm
import {module}  # registers {names}

model = timm.create_model("{first}")
```
"""


def write_package(sources: Sequence[Source], *, folder: Path, force: bool = False) -> Path:
    """Write a package, named as the folder is, that registers the variants when it is imported.

    Variants with weights bring them along, for `pretrained=True`.

    Raises:
        ExportError: the folder's name is none for a module, two variants have one name, or
            something else lies there and `force` is not given.
    """
    module = _module(folder)
    check_module(module, folder=folder)
    names = [timm_name(source.variant.name) for source in sources]
    if len(set(names)) < len(names):
        raise ExportError(f"{folder}: two variants would have one name in timm: {', '.join(names)}")
    files = ["pyproject.toml", "README.md", f"{module}/__init__.py"]
    for source in sources:
        files += [f"{module}/{file}" for file in _files(source)]

    def write(staged: Path) -> None:
        inner = staged / module
        paths = [
            export(
                source, format="timm" if source.weights is not None else "yaml", folder=inner
            ).name
            for source in sources
        ]
        values = {
            "project": _project(module),
            "module": module,
            "names": ", ".join(names),
            "paths": tuple(paths),
            "first": names[0],
            "count": f"{len(names)} network{'' if len(names) == 1 else 's'}",
        }
        (inner / "__init__.py").write_text(_MODULE.format(**values), encoding="utf-8")
        (staged / "pyproject.toml").write_text(_PROJECT.format(**values), encoding="utf-8")
        (staged / "README.md").write_text(_README.format(**values), encoding="utf-8")

    publish(files, folder=folder, force=force, write=write)
    return folder


def package_folder(folder: Path) -> Path:
    """Where in the package its files of networks lie."""
    return folder / _module(folder)


def check_module(module: str, *, folder: Path) -> None:
    """Refuse a name that Python could not import, or under which it would find something else.

    Raises:
        ExportError: as said; another name is proposed.
    """
    if not module.isidentifier() or module.startswith("_") or module.endswith("_"):
        raise ExportError(
            f"{folder}: {module!r} is no name of a package; begin it with a letter, and end it "
            "with a letter or a digit"
        )
    if keyword.iskeyword(module):
        taken = "is a word of Python's"
    elif module in sys.stdlib_module_names:
        taken = "is a module of Python's"
    elif _is_installed(module):
        taken = "is an installed package, which this would take the place of"
    else:
        return
    raise ExportError(f"{folder}: {module!r} {taken}; call it {folder.with_name(module + '_cmt')}")


def _is_installed(module: str) -> bool:
    """Whether another package has the name, as a module or for pip; not one of ours, an older."""
    found = find_spec(module)
    if found is not None and found.origin is not None:
        with suppress(OSError, UnicodeDecodeError):
            return not Path(found.origin).read_text(encoding="utf-8").startswith(_HEAD)
        return True  # in C
    try:
        project = metadata(_project(module))
    except PackageNotFoundError:
        return False
    return "Summary" not in project or not project["Summary"].startswith("Registers ")


def _module(folder: Path) -> str:
    return re.sub(r"\W", "_", folder.resolve().name, flags=re.ASCII)


def _project(module: str) -> str:
    return module.replace("_", "-")


def _files(source: Source) -> tuple[str, ...]:
    name = source.variant.name
    return (*as_yaml.files(name), *as_timm.files(name))
