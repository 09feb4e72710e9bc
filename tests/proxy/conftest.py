"""A network that trains in seconds, and the embedded images."""

from collections.abc import Iterator

import pytest
import torch

from cmt_search.arch import Arch, Stage
from cmt_search.proxy import Dataset, DatasetSpec, load_dataset


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def embedded() -> Dataset:
    return load_dataset(DatasetSpec())


@pytest.fixture(scope="session")
def tiny() -> Arch:
    return Arch(
        resolution=14,
        stem_width=4,
        stem_stride=1,
        stages=(
            Stage(depth=1, width=8, heads=1, kv_stride=4),
            Stage(depth=1, width=16, heads=2, kv_stride=2),
        ),
        neck_width=32,
        in_chans=1,
        num_classes=10,
    )
