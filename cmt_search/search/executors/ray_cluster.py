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
        per_trial = " and ".join(f"{amount:g} {name}" for name, amount in needed.items())
        by_node = "; ".join(
            " and ".join(f"{node.get(name, 0):g} {name}" for name in needed) for node in nodes
        )
        cluster = "this machine" if self.address is None else f"the cluster at {self.address!r}"
        remedy = f"use --slots {capacity}, " if capacity else ""
        raise RunError(
            f"{self.slots or 1} trials at a time need {per_trial} each, and {cluster} has room for "
            f"{capacity} (by node: {by_node}); {remedy}lower --cpus-per-trial or --gpus-per-trial, "
            "or give the --address of a larger cluster"
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
    with _session_dir(session):
        try:
            _start(request)
            yield request.slots_on(_nodes())
        finally:
            ray.shutdown()


def _nodes() -> list[Mapping[str, float]]:
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


@contextmanager
def _session_dir(session: str) -> Iterator[None]:
    """Set RAY_TMPDIR to a new folder, whose path is short enough for Ray's sockets."""
    before = os.environ.get("RAY_TMPDIR")
    name = hashlib.sha256((session or str(os.getpid())).encode()).hexdigest()[:8]
    folder = Path(before or tempfile.gettempdir()) / f"cmt-{name}"
    shutil.rmtree(folder, ignore_errors=True)
    try:
        folder.mkdir(mode=0o700)
    except OSError as error:
        raise RunError(f"{folder} cannot be made ({error}); set RAY_TMPDIR") from error
    os.environ["RAY_TMPDIR"] = str(folder)
    try:
        yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        del os.environ["RAY_TMPDIR"]
        if before is not None:
            os.environ["RAY_TMPDIR"] = before


def _start(request: ResourceRequest) -> None:
    """Join the cluster, or start Ray here; the process's signal handlers stay as they are."""
    options: dict[str, Any] = {"address": request.address}
    if request.address is None:
        options = {
            "address": "local",
            "num_cpus": max(usable_cores(), request.slots or 0),
            "include_dashboard": False,
            "object_store_memory": _OBJECT_STORE,
        }
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        ray.init(**options, log_to_driver=False, logging_level=logging.CRITICAL)
    except Exception as error:
        first = next(iter(str(error).strip().splitlines()), type(error).__name__)
        if request.address is None:
            raise RunError(
                f"Ray does not start on this machine ({first}); free memory and disk space, or use "
                "--executor inline"
            ) from error
        raise RunError(
            f"the Ray cluster at {request.address!r} cannot be joined ({first}); make this machine "
            "a node (`ray start --address HOST:6379`, then --address auto), install the same Ray "
            "and Python on all nodes, and copy ~/.ray/auth_token with RAY_AUTH_MODE=token if it "
            "uses one"
        ) from error
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in handlers.items():
                signal.signal(number, handler)
