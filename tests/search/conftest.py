"""One Ray for all tests of a process: its start takes ten seconds."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from cmt_search.search.driver import prepare_ray


@pytest.fixture(scope="session")
def ray_here() -> Iterator[None]:
    """A local Ray with two slots, whose workers find the evaluators of the tests."""
    prepare_ray(local=True)
    from cmt_search.search.executors.ray_cluster import ResourceRequest, connected

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parents[2]), prepend=os.pathsep)
        with connected(ResourceRequest(slots=2)):
            yield
