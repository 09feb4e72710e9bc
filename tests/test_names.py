"""Names of the package's definitions."""

import importlib
import pkgutil
from types import ModuleType

import pytest

import cmt_search

PACKAGES = ["cmt_search"] + [
    module.name
    for module in pkgutil.walk_packages(cmt_search.__path__, prefix="cmt_search.")
    if module.ispkg
]


@pytest.mark.parametrize("name", PACKAGES)
def test_a_package_exports_nothing_under_the_name_of_one_of_its_modules(name: str) -> None:
    package = importlib.import_module(name)
    for module in pkgutil.iter_modules(package.__path__):
        exported = getattr(package, module.name, None)
        assert exported is None or isinstance(exported, ModuleType), f"{name}.{module.name}"
