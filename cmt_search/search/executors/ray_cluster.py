"""A Ray cluster to run on: started here, or found at an address, and checked for room."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import ray
from ray.exceptions import AuthenticationError

from cmt_search.errors import RunError
from cmt_search.search.provenance import usable_cores

_OBJECT_STORE = 128 * 2**20  # bytes; jobs and measurements are small, data never pass through it
_CLIENT = "ray://"
_ROUNDING = 1e-9  # so that three times a third is one


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a search asks of a cluster.

    Raises:
        RunError: no cluster could grant it, or the address is a client's.
    """

    slots: int | None = None  # jobs at a time; None: as many as fit
    address: str | None = None  # None: start Ray on this machine
    cpus: float = 1.0  # per job
    gpus: float = 0.0  # per job; a fraction shares one

    def __post_init__(self) -> None:
        if self.address is not None and self.address.startswith(_CLIENT):
            raise RunError(
                f"--address {self.address} is Ray Client's, through which a driver outside of the "
                "cluster would be lost with its connection; run this command on a node of the "
                "cluster with --address auto, or send it there: `ray job submit -- cmt-search ...`"
            )
        if self.cpus < 0 or self.gpus < 0 or not (self.cpus or self.gpus):
            raise RunError(
                f"a trial that asks for {self.cpus:g} CPU and {self.gpus:g} GPU cannot be counted; "
                "use more than 0 of one of them"
            )
        if self.gpus > 1 and self.gpus != int(self.gpus):
            raise RunError(
                f"--gpus-per-trial {self.gpus:g} is neither whole nor a part of one GPU; use "
                f"{int(self.gpus)}, {int(self.gpus) + 1}, or a fraction below 1"
            )

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
        RunError: no node has room for one, or all have room for fewer than are wished for; Ray
            would wait for ever.
    """
    needed = {name: amount for name, amount in wish.resources.items() if amount > 0}
    room = sum(
        min(_times(amount, of=node.get(name, 0), name=name) for name, amount in needed.items())
        for node in nodes
    )
    if room >= (wish.slots or 1):
        return wish.slots or room
    asked = " and ".join(f"{amount:g} {name}" for name, amount in needed.items())
    there = "; ".join(
        " and ".join(f"{node.get(name, 0):g} {name}" for name in needed) for node in nodes
    )
    where = "this machine" if wish.address is None else f"the cluster at {wish.address!r}"
    if not room:
        raise RunError(
            f"a trial asks for {asked}, and no node of {where} has that (by node: {there}); lower "
            "--cpus-per-trial or --gpus-per-trial, or give the --address of a larger cluster"
        )
    raise RunError(
        f"{wish.slots} trials at a time ask for {asked} each, and {where} has room for {room} (by "
        f"node: {there}); use --slots {room}, ask for less per trial, or add nodes first"
    )


def _times(amount: float, *, of: float, name: str) -> int:
    """How often an amount fits into a node's; a part of a GPU lies on one GPU."""
    if name == "GPU" and amount < 1:
        return int(of) * int(1 / amount + _ROUNDING)
    return int(of / amount + _ROUNDING)


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
    except (ConnectionError, RuntimeError, ValueError, AuthenticationError) as error:
        ray.shutdown()  # of what a failed start left
        raise RunError(_unreachable(wish.address, error)) from error


def _unreachable(address: str, error: Exception) -> str:
    """Why a cluster was not joined, and what to do."""
    if "Version mismatch" in str(error):
        return (
            f"the cluster at {address!r} runs another Ray or Python ({' '.join(str(error).split())}"
            "); install the same package on every node, as deploy/Dockerfile does"
        )
    if isinstance(error, AuthenticationError):
        return (
            f"the cluster at {address!r} asks for its token; copy ~/.ray/auth_token of its first "
            "node to this one, and set RAY_AUTH_MODE=token"
        )
    return (
        f"there is no Ray cluster at {address!r} that this machine is a node of; join it with "
        "`ray start --address HOST:6379` (its first node: `ray start --head`) and say --address "
        "auto, or leave --address away to run on this machine alone"
    )
