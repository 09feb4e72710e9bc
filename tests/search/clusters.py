"""A Ray cluster of several nodes on this machine, whose cores exist in Ray's books only."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from cmt_search.search.driver import prepare_ray

ROOT = Path(__file__).parents[2]
NODES = 3
_STORE = 80 * 2**20  # bytes of an object store; the least that Ray takes


@contextmanager
def cluster_here() -> Iterator[Any]:
    """A head and two more nodes of one core each, and gone afterwards."""
    prepare_ray(local=True)
    from ray.cluster_utils import Cluster

    head = {
        "num_cpus": 1,
        "object_store_memory": _STORE,
        "include_dashboard": False,
        # a dead node fails five probes in a row at once; a slow one has ten seconds for each
        "_system_config": {"health_check_period_ms": 500},
    }
    with mock.patch.dict(os.environ, PYTHONPATH=str(ROOT)):  # workers must find the evaluator
        cluster = Cluster(initialize_head=True, head_node_args=head)
        try:
            for _ in range(NODES - 1):
                add_node(cluster)
            yield cluster
        finally:
            cluster.shutdown()


def add_node(cluster: Any) -> None:
    """One more node of one core."""
    cluster.add_node(num_cpus=1, object_store_memory=_STORE)
