"""Resources of a search on Ray, and the connection to a cluster."""

import hashlib
import logging
import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray

from cmt_search.cost.config import usable_cores
from cmt_search.errors import RunError

_OBJECT_STORE = 128 * 2**20  # bytes; only jobs and measurements pass through it
_ROUNDING = 1e-9  # three times a third is one


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceRequest:
    """The resources of a search.

    Raises:
        RunError: no cluster can grant them, or the address is Ray Client's.
    """

    slots: int | None = None  # jobs at a time; None: as many as fit
    address: str | None = None  # None: start Ray on this machine
    cpus: float = 1.0  # per job
    gpus: float = 0.0  # per job; a fraction shares one

    def __post_init__(self) -> None:
        if self.address is not None and self.address.startswith("ray://"):
            raise RunError(
                f"--address {self.address} is Ray Client's: a search would be lost with its "
                "connection; run this command on a node of the cluster with --address auto, or "
                "submit it: `ray job submit -- cmt-search ...`"
            )
        if self.cpus < 0 or self.gpus < 0 or not (self.cpus or self.gpus):
            raise RunError(
                f"a trial cannot use {self.cpus:g} CPU and {self.gpus:g} GPU; set --cpus-per-trial "
                "or --gpus-per-trial above 0"
            )
        if self.gpus > 1 and self.gpus != int(self.gpus):
            raise RunError(
                f"--gpus-per-trial {self.gpus:g} is neither whole nor below 1; use "
                f"{int(self.gpus)}, {int(self.gpus) + 1}, or a fraction below 1"
            )

    def slots_on(self, nodes: Sequence[Mapping[str, float]]) -> int:
        """Return how many jobs run at a time on nodes with these resources.

        Raises:
            RunError: they have no room for `slots` jobs; Ray would wait for ever.
        """
        resources = {"CPU": self.cpus, "GPU": self.gpus}
        needed = {name: amount for name, amount in resources.items() if amount > 0}
        capacity = sum(
            min(_capacity(node.get(name, 0), amount, name) for name, amount in needed.items())
            for node in nodes
        )
        if capacity >= (self.slots or 1):
            return self.slots or capacity
        by_node = "; ".join(
            " and ".join(f"{node.get(name, 0):g} {name}" for name in needed) for node in nodes
        )
        cluster = "this machine" if self.address is None else f"the cluster at {self.address!r}"
        remedy = f"use --slots {capacity}, " if capacity else ""
        raise RunError(
            f"{self.slots or 1} trials at a time need "
            f"{' and '.join(f'{amount:g} {name}' for name, amount in needed.items())} each, and "
            f"{cluster} has room for {capacity} (by node: {by_node}); {remedy}lower "
            "--cpus-per-trial or --gpus-per-trial, or give the --address of a larger cluster"
        )


def _capacity(available: float, amount: float, name: str) -> int:
    """Return how often an amount fits on a node; a fraction of a GPU never spans two."""
    if name == "GPU" and amount < 1:
        return int(available) * int(1 / amount + _ROUNDING)
    return int(available / amount + _ROUNDING)


@contextmanager
def connected(request: ResourceRequest, *, session: str = "") -> Iterator[int]:
    """Start or join Ray for the duration of the context; yield the number of slots.

    A Ray that runs in this process already is used and left alone. `session` identifies the run on
    this machine: what its killed driver left in the temporary directory is deleted.

    Raises:
        RunError: Ray does not start, or has no room for the trials.
    """
    if ray.is_initialized():
        yield request.slots_on(_nodes())
        return
    # the same for every driver of the run, and short enough for the paths of Ray's sockets
    name = hashlib.sha256((session or str(os.getpid())).encode()).hexdigest()[:8]
    folder = Path(os.environ.get("RAY_TMPDIR", tempfile.gettempdir())).resolve() / f"cmt-{name}"
    shutil.rmtree(folder, ignore_errors=True)
    try:
        if request.address is None:
            _start(folder, cores=max(usable_cores(), request.slots or 0))
        else:
            _join(request.address)
        yield request.slots_on(_nodes())
    finally:
        ray.shutdown()
        shutil.rmtree(folder, ignore_errors=True)


def _nodes() -> list[Mapping[str, float]]:
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def _start(folder: Path, *, cores: int) -> None:
    try:
        folder.mkdir(mode=0o700)
        _initialize(
            address="local",
            num_cpus=cores,
            include_dashboard=False,
            object_store_memory=_OBJECT_STORE,
            _temp_dir=str(folder),
        )
    except Exception as error:
        raise RunError(
            f"Ray does not start on this machine ({_first_line(error)}); free memory and disk "
            f"space, set RAY_TMPDIR if {folder} cannot be used, or use --executor inline"
        ) from error


def _join(address: str) -> None:
    try:
        _initialize(address=address)
    except Exception as error:
        raise RunError(
            f"the Ray cluster at {address!r} cannot be joined ({_first_line(error)}); make this "
            "machine a node (`ray start --address HOST:6379`, then --address auto), install the "
            "same Ray and Python on all nodes, and copy ~/.ray/auth_token with RAY_AUTH_MODE=token "
            "if it uses one"
        ) from error


def _initialize(**options: Any) -> None:
    """Call `ray.init`; the process's signal handlers stay as they are."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        ray.init(**options, log_to_driver=False, logging_level=logging.CRITICAL)
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in handlers.items():
                signal.signal(number, handler)


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
