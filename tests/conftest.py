"""Settings for all tests."""

from collections.abc import Iterator

import pytest
from hypothesis import settings

settings.register_profile("cmt_search", deadline=None)  # a busy machine is no failure
settings.load_profile("cmt_search")


@pytest.fixture(autouse=True, scope="session")
def _image_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Decoded images of tests lie with the tests' other files."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CMT_SEARCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
