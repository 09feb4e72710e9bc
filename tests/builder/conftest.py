"""Networks from timm's registry that tests share."""

from copy import deepcopy
from typing import Any

import pytest

from tests.builder.registered import create, trained


@pytest.fixture(scope="session")
def shared() -> Any:
    """The small `cmt` for 64 pixels, trained, in eval mode; tests do not change it."""
    return trained(create())


@pytest.fixture
def small(shared: Any) -> Any:
    """A copy of `shared`, to change."""
    return deepcopy(shared)
