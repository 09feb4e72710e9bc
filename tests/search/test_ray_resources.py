"""What a search asks of a cluster, compared to what there is. No Ray is started."""

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

from cmt_search.search.executors import ray as ray_executor  # noqa: E402  # ray reads settings on import
from cmt_search.search.executors.ray import ResourceRequest, connected, slots  # noqa: E402

Nodes = list[Mapping[str, float]]
GPUS: Nodes = [{"CPU": 16.0, "GPU": 2.0}, {"CPU": 8.0, "GPU": 1.0}, {"CPU": 4.0}]


@pytest.mark.parametrize(
    ("gpus", "room"), [(1, 3), (0.5, 6), (1 / 3, 9), (0.25, 12), (0.4, 6), (0.6, 3), (2, 1)]
)
def test_a_part_of_a_gpu_lies_on_one_gpu(gpus: float, room: int) -> None:
    assert slots(ResourceRequest(gpus=gpus, cpus=0), nodes=GPUS) == room


def test_the_scarcer_resource_of_each_node_counts() -> None:
    assert slots(ResourceRequest(gpus=0.25, cpus=4), nodes=GPUS) == 4 + 2
    assert slots(ResourceRequest(gpus=0.25, cpus=4, slots=5), nodes=GPUS) == 5
    assert slots(ResourceRequest(cpus=3), nodes=GPUS) == 5 + 2 + 1


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (
            ResourceRequest(address="auto", cpus=4, gpus=0.5, slots=16),
            "16 trials at a time ask for 4 CPU and 0.5 GPU each, and the cluster at 'auto' has "
            "room for 6 (by node: 16 CPU and 2 GPU; 8 CPU and 1 GPU; 4 CPU and 0 GPU); use "
            "--slots 6, ask for less per trial, or add nodes first",
        ),
        (
            ResourceRequest(cpus=1, gpus=4, slots=2),
            "a trial asks for 1 CPU and 4 GPU, and no node of this machine has that (by node: "
            "16 CPU and 2 GPU; 8 CPU and 1 GPU; 4 CPU and 0 GPU); lower --cpus-per-trial or "
            "--gpus-per-trial, or give the --address of a larger cluster",
        ),
    ],
)
def test_what_is_missing_is_named(asked: ResourceRequest, message: str) -> None:
    with pytest.raises(RunError) as error:
        slots(asked, nodes=GPUS)
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (
            {"address": "ray://head:10001"},
            "--address ray://head:10001 is Ray Client's, through which a driver outside of the "
            "cluster would be lost with its connection; run this command on a node of the cluster "
            "with --address auto, or send it there: `ray job submit -- cmt-search ...`",
        ),
        (
            {"gpus_per_trial": 1.5},
            "--gpus-per-trial 1.5 is neither whole nor a part of one GPU; use 1, 2, or a fraction "
            "below 1",
        ),
        (
            {"cpus_per_trial": 0},
            "a trial that asks for 0 CPU and 0 GPU cannot be counted; use more than 0 of one "
            "of them",
        ),
        (
            {"cpus_per_trial": 1, "gpus_per_trial": -1},
            "a trial that asks for 1 CPU and -1 GPU cannot be counted; use more than 0 of one "
            "of them",
        ),
    ],
)
def test_what_no_cluster_grants_is_refused_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: dict[str, Any], message: str
) -> None:
    monkeypatch.setattr(ray_executor.ray, "init", lambda *a, **k: pytest.fail("ray was started"))
    run = RunDir.create(tmp_path / "r", space_yaml="", fingerprint="f00d")
    with pytest.raises(RunError) as error:
        run_search(run, FakeSpace(), LookupFactory(), executor="ray", **asked)
    assert str(error.value) == message
    assert not run.study.exists()


@pytest.mark.parametrize(
    ("raised", "message"),
    [
        (
            AuthenticationError("Token authentication is enabled but no token was found"),
            "the cluster at '10.0.0.1:6379' asks for its token; copy ~/.ray/auth_token of its "
            "first node to this one, and set RAY_AUTH_MODE=token",
        ),
        (
            ConnectionError("Failed to connect to Ray cluster at 10.0.0.1:6379"),
            "there is no Ray cluster at '10.0.0.1:6379' that this machine is a node of; join it "
            "with `ray start --address HOST:6379` (its first node: `ray start --head`) and say "
            "--address auto, or leave --address away to run on this machine alone",
        ),
        (
            RuntimeError("Version mismatch: The cluster was started with:\n    Ray: 2.50.0\n"),
            "the cluster at '10.0.0.1:6379' runs another Ray or Python (Version mismatch: The "
            "cluster was started with: Ray: 2.50.0); install the same package on every node, as "
            "deploy/Dockerfile does",
        ),
    ],
)
def test_a_cluster_that_cannot_be_joined_says_how_to(
    monkeypatch: pytest.MonkeyPatch, raised: Exception, message: str
) -> None:
    def init(**_options: Any) -> None:
        raise raised

    off = SimpleNamespace(is_initialized=lambda: False, init=init, shutdown=lambda: None)
    monkeypatch.setattr(ray_executor, "ray", off)
    with pytest.raises(RunError) as error, connected(ResourceRequest(address="10.0.0.1:6379")):
        pytest.fail("it was joined")
    assert str(error.value) == message
