"""Resources of a search, compared to what a cluster has. No Ray is started."""

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cmt_search.errors import RunError
from cmt_search.search import RunDir, run_search
from cmt_search.search.driver import prepare_ray
from tests.search.lookup import FakeSpace, LookupFactory

prepare_ray(local=True)

from ray.exceptions import AuthenticationError  # noqa: E402

from cmt_search.search.executors import ray_cluster  # noqa: E402
from cmt_search.search.executors.ray_cluster import ResourceRequest, connected  # noqa: E402

Nodes = list[Mapping[str, float]]
GPUS: Nodes = [{"CPU": 16.0, "GPU": 2.0}, {"CPU": 8.0, "GPU": 1.0}, {"CPU": 4.0}]
CPUS: Nodes = [{"CPU": 8.0, "GPU": 2.0}, {"CPU": 3.0}]


@pytest.mark.parametrize(
    ("gpus", "slots"), [(1, 3), (0.5, 6), (1 / 3, 9), (0.25, 12), (0.4, 6), (0.6, 3), (2, 1)]
)
def test_a_fraction_of_a_gpu_lies_on_one_gpu(gpus: float, slots: int) -> None:
    assert ResourceRequest(gpus=gpus, cpus=0).slots_on(GPUS) == slots


@pytest.mark.parametrize(
    ("asked", "slots"),
    [
        (ResourceRequest(), 11),
        (ResourceRequest(slots=4), 4),
        (ResourceRequest(cpus=2), 5),
        (ResourceRequest(cpus=1, gpus=0.25), 8),
    ],
)
def test_the_scarcer_resource_of_each_node_counts(asked: ResourceRequest, slots: int) -> None:
    assert asked.slots_on(CPUS) == slots
    assert ResourceRequest(gpus=0.25, cpus=4).slots_on(GPUS) == 4 + 2
    assert ResourceRequest(cpus=3).slots_on(GPUS) == 5 + 2 + 1


@pytest.mark.parametrize(
    ("asked", "parts"),
    [
        (
            ResourceRequest(address="auto", cpus=4, gpus=0.5, slots=16),
            ["16 trials", "4 CPU and 0.5 GPU", "'auto'", "room for 6", "use --slots 6"],
        ),
        (
            ResourceRequest(cpus=1, gpus=4),
            ["1 CPU and 4 GPU", "this machine", "4 CPU and 0 GPU", "lower --cpus-per-trial"],
        ),
    ],
)
def test_missing_resources_are_named(asked: ResourceRequest, parts: list[str]) -> None:
    with pytest.raises(RunError) as error:
        asked.slots_on(GPUS)
    assert [part for part in parts if part not in str(error.value)] == []


@pytest.mark.parametrize(
    ("asked", "remedy"),
    [
        ({"address": "ray://head:10001"}, "--address auto"),
        ({"gpus_per_trial": 1.5}, "use 1, 2, or a fraction below 1"),
        ({"cpus_per_trial": 0}, "set --cpus-per-trial or --gpus-per-trial above 0"),
        ({"gpus_per_trial": -1}, "set --cpus-per-trial or --gpus-per-trial above 0"),
    ],
)
def test_what_no_cluster_grants_is_refused_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: dict[str, Any], remedy: str
) -> None:
    monkeypatch.setattr(ray_cluster.ray, "init", lambda *a, **k: pytest.fail("ray was started"))
    run = RunDir.create(tmp_path / "r", space_yaml="", fingerprint="f00d")
    with pytest.raises(RunError, match=remedy):
        run_search(run, FakeSpace(), LookupFactory(), executor="ray", **asked)
    assert not run.study.exists()


@pytest.mark.parametrize("address", ["10.0.0.1:6379", None])
@pytest.mark.parametrize(
    "raised",
    [
        AuthenticationError("Token authentication is enabled but no token was found"),
        ConnectionError("Failed to connect to Ray cluster at 10.0.0.1:6379"),
        RuntimeError("Version mismatch: The cluster was started with:\n    Ray: 2.50.0\n"),
        OSError(28, "No space left on device"),
    ],
)
def test_a_ray_that_does_not_start_is_one_error_with_remedies(
    monkeypatch: pytest.MonkeyPatch, raised: Exception, address: str | None
) -> None:
    def init(**_options: Any) -> None:
        raise raised

    off = SimpleNamespace(is_initialized=lambda: False, init=init, shutdown=lambda: None)
    monkeypatch.setattr(ray_cluster, "ray", off)
    with pytest.raises(RunError) as error, connected(ResourceRequest(address=address)):
        pytest.fail("it was joined")
    message = str(error.value)
    assert str(raised).splitlines()[0] in message
    assert (address or "this machine") in message
    if address is not None:
        assert "ray start --address" in message
        assert "auth_token" in message
