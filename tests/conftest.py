"""Settings for all tests, and the finished searches that they share."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.runs import finish_run

settings.register_profile("cmt_search", deadline=None)  # a busy machine is no failure
settings.load_profile("cmt_search")


@pytest.fixture(autouse=True, scope="session")
def _image_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Decoded images of tests lie with the tests' other files."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CMT_SEARCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def flat_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished rule search in which all rules are equal. Leave its study as it is."""
    return finish_run(tmp_path_factory.mktemp("flat"), "macs")


@pytest.fixture(scope="session")
def wide_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished rule search in which width alone helps. Leave its study as it is."""
    return finish_run(tmp_path_factory.mktemp("wide"), "width")
