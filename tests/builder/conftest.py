"""Every registered network once per module of tests."""

from copy import deepcopy
from typing import Any

import pytest

from tests.builder.registered import NAMES, create, trained


@pytest.fixture(scope="module", params=NAMES)
def shared(request: pytest.FixtureRequest) -> Any:
    """A trained network for 64 pixels, in eval mode; tests leave it as it is."""
    return trained(create(request.param))


@pytest.fixture
def model(shared: Any) -> Any:
    """A copy of `shared`, to change."""
    return deepcopy(shared)


@pytest.fixture
def small() -> Any:
    """The small `cmt`, trained, in eval mode, to change."""
    return trained(create())
