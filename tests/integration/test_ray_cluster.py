"""A search on a Ray cluster of several nodes."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cmt_search.arch import Arch
from cmt_search.errors import RunError
from cmt_search.search import Event, JobFinished, RunDir, read_trials, run_search
from tests.search.clusters import NODES, cluster_here
from tests.search.lookup import FakeSampler, FakeSpace, LookupEvaluator, read_log

pytestmark = pytest.mark.slow
SPACE = FakeSpace(trials=12, sampler=FakeSampler(name="random", lattice=1, replicates=1))


Done = dict[tuple[str, int, int], object]  # by network, epochs and seed


@dataclass(frozen=True, kw_only=True)
class OnNode(LookupEvaluator):
    """A lookup that notes its node, too; its own factory."""

    def __call__(self, arch: Arch | None = None, **how: Any) -> Any:
        if arch is None:
            return self
        import ray

        assert self.log is not None
        with self.log.with_suffix(".nodes").open("a") as file:
            file.write(ray.get_runtime_context().get_node_id() + "\n")
        return LookupEvaluator.__call__(self, arch, **how)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    with cluster_here() as here:
        import ray

        try:
            ray.init(address=here.address, log_to_driver=False)
            yield here
        finally:
            ray.shutdown()


def nodes(log: Path) -> set[str]:
    """Where jobs began."""
    file = log.with_suffix(".nodes")
    return set(file.read_text().split()) if file.exists() else set()


def measured(run: RunDir) -> Done:
    return {
        (rung.rung.arch.key, rung.rung.fidelity.epochs, m.seed): m
        for trial in read_trials(run.path)
        for rung in trial.rungs
        for m in rung.measurements
    }


def test_a_lost_node_costs_no_measurement_and_the_run_completes(
    tmp_path: Path, cluster: Any
) -> None:
    run = RunDir.create(tmp_path / "r", space_yaml="", fingerprint="f00d")
    log = tmp_path / "log"
    before: Done = {}

    def lose_a_node(event: Event) -> None:
        """Once every node has worked, take away one that is not the driver's."""
        if before or not isinstance(event, JobFinished) or len(nodes(log)) < NODES:
            return
        if len(done := measured(run)) >= NODES - 1:
            before.update(done)
            cluster.remove_node(cluster.list_all_nodes()[-1], allow_graceful=False)

    factory = OnNode(log=log, wait=0.5)
    outcome = run_search(run, SPACE, factory, executor="ray", on_event=lose_a_node)
    assert (outcome.stopped, outcome.complete, outcome.failed) == ("finished", SPACE.trials, 0)
    assert len(nodes(log)) == NODES  # work went to all of them
    assert len(before) >= NODES - 1
    after = measured(run)
    assert before.items() <= after.items()
    lines = read_log(log)
    begun, ended = (
        Counter(line[1:4] for line in lines if line[0] == what) for what in ("begin", "end")
    )
    assert ended.keys() == after.keys()
    assert all(begun[job] == 1 for job in before)  # what was measured is not trained again


def test_more_slots_than_the_cluster_has_are_refused(tmp_path: Path, cluster: Any) -> None:
    import ray

    run = RunDir.create(tmp_path / "r", space_yaml="", fingerprint="f00d")
    cores = sum(node["Alive"] for node in ray.nodes())  # one of each node; a test may remove one
    with pytest.raises(RunError, match=f"8 trials .* 0.5 CPU each, .* room for {2 * cores} "):
        run_search(run, SPACE, OnNode(), executor="ray", slots=8, cpus_per_trial=0.5)
