"""A Ray cluster to run on: started here, or found at an address, and checked for room."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import ray

from cmt_search.errors import RunError
from cmt_search.search.provenance import usable_cores

_OBJECT_STORE = 128 * 2**20  # bytes; jobs and measurements are small, data never pass through it


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a search asks of a cluster."""

    slots: int | None = None  # jobs at a time; None: as many as fit
    address: str | None = None  # None: start Ray on this machine
    cpus: float = 1.0  # per job
    gpus: float = 0.0  # per job; a fraction shares one

    @property
    def resources(self) -> dict[str, float]:
        """What a job needs, in Ray's words."""
        return {"CPU": self.cpus, "GPU": self.gpus}


@contextmanager
def connected(wish: Wish) -> Iterator[int]:
    """Ray, for as long as it is needed, and how many jobs run at a time.

    A Ray that already runs in this process is used, and left alone.

    Raises:
        RunError: there is no cluster at the address, or it has no room for a job.
    """
    ours = not ray.is_initialized()
    if ours:
        _start(wish)
    try:
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        yield slots(wish, nodes=nodes)
    finally:
        if ours:
            ray.shutdown()


def slots(wish: Wish, *, nodes: Sequence[Mapping[str, float]]) -> int:
    """How many jobs run at a time on nodes with these resources.

    Raises:
        RunError: no node has room for one; Ray would wait for ever.
    """
    needed = {name: amount for name, amount in wish.resources.items() if amount > 0}
    room = sum(
        min(int(node.get(name, 0) / amount + 1e-9) for name, amount in needed.items())
        for node in nodes
    )
    if room:
        return room if wish.slots is None else min(wish.slots, room)
    asked = " and ".join(f"{amount:g} {name}" for name, amount in needed.items())
    there = "; ".join(
        " and ".join(f"{node.get(name, 0):g} {name}" for name in needed) for node in nodes
    )
    where = "this machine" if wish.address is None else f"the cluster at {wish.address!r}"
    raise RunError(
        f"a trial asks for {asked}, and no node of {where} has that (by node: {there}); "
        "lower --cpus-per-trial or --gpus-per-trial, or give the --address of a larger cluster"
    )


def _start(wish: Wish) -> None:
    """Connect, or start Ray here. Ray itself gives a worker as many threads as the job has CPUs."""
    if wish.address is None:
        ray.init(
            address="local",
            num_cpus=max(usable_cores(), wish.slots or 0),
            include_dashboard=False,
            object_store_memory=_OBJECT_STORE,
            log_to_driver=False,
            logging_level=logging.CRITICAL,
        )
        return
    try:
        ray.init(address=wish.address, log_to_driver=False, logging_level=logging.CRITICAL)
    except ConnectionError as error:
        raise RunError(
            f"there is no Ray cluster at {wish.address!r}; start one with `ray start --head`, "
            "or leave --address away to run on this machine"
        ) from error
