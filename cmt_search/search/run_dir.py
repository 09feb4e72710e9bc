"""Run directory: layout, driver lock, checkpoints of trainings, environment."""

import fcntl
import json
import os
import platform
import re
import shutil
import socket
from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from shlex import quote
from typing import Any, Self
from urllib.parse import quote_plus
from uuid import uuid4

from filelock import FileLock, Timeout

from cmt_search.cost.config import hardware_name, usable_cores
from cmt_search.errors import RunError, closest_match
from cmt_search.io import atomic_write
from cmt_search.search.types import Job

STORAGE_VARIABLE = "CMT_SEARCH_STORAGE"
_MASK = "***"
_MARK_FILE = "driver"  # in the folder of checkpoints
_LOCK_TIMEOUT = 0.5  # seconds; reading the driver takes the lock for a moment


@dataclass(frozen=True, slots=True, kw_only=True)
class RunInfo:
    """Contents of run.json."""

    name: str  # of the run and of its study; stays when the folder is renamed
    id: str  # distinguishes runs of the same name in a shared storage
    created: str  # ISO 8601, UTC
    fingerprint: str  # of the space
    command: tuple[str, ...]
    versions: dict[str, str]
    hardware: dict[str, Any]
    storage: str | None = None  # URL with its password masked; None: study.db in the folder


@dataclass(frozen=True, slots=True, kw_only=True)
class Driver:
    """Contents of driver.json: the process that drives the run, or drove it last."""

    pid: int
    host: str
    since: str  # ISO 8601, UTC
    slots: int | None = None  # most trainings at a time so far
    cpus: float | None = None  # of each training
    gpus: float | None = None  # of each training
    study_created: bool = False  # by this driver or an earlier one

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host} since {self.since}"


class _Entry:
    """A file or folder of a run."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, run: "RunDir", owner: type) -> Path:
        return run.path / self._name


@dataclass(frozen=True, slots=True)
class RunDir:
    """The folder of a run, with everything that the run writes."""

    path: Path

    space = _Entry("space.yaml")  # as it was when the run was created
    info_file = _Entry("run.json")  # `RunInfo`; written last: a folder with it is complete
    study = _Entry("study.db")  # unless a storage URL holds the study
    lock_file = _Entry("lock")  # locked by the driver as long as it lives
    driver_file = _Entry("driver.json")  # `Driver`
    measured = _Entry("measured.json")  # latency and memory of networks
    logged = _Entry("logged.json")  # numbers of the trials that --log has logged, by target
    report = _Entry("report.html")
    family = _Entry("family.yaml")  # members that `family` wrote
    exports = _Entry("exports")
    checkpoints = _Entry("checkpoints")

    @classmethod
    def create(
        cls,
        path: Path,
        *,
        space_yaml: str,
        fingerprint: str,
        command: Sequence[str] = (),
        storage: str | None = None,
        name: str | None = None,
    ) -> Self:
        """Create the folder of a run; `name` is that of its study, by default the folder's.

        Raises:
            RunError: the folder holds a run, or cannot be written.
        """
        run = cls(path)
        if run.info_file.exists():
            raise RunError(
                f"{path} already holds a run; continue it with "
                f"`cmt-search resume {quote(str(path))}`, or give the new one another --name"
            )
        info = RunInfo(
            name=name or path.resolve().name,
            id=uuid4().hex,
            created=_now(),
            fingerprint=fingerprint,
            command=tuple(mask_passwords(word) for word in command),
            versions=versions(),
            hardware=hardware(),
            storage=None if storage is None else mask_passwords(storage),
        )
        with _write_errors(path):
            path.mkdir(parents=True, exist_ok=True)
            atomic_write(run.space, space_yaml)
            atomic_write(run.info_file, json.dumps(asdict(info), indent=2) + "\n")
        return run

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open an existing run.

        Raises:
            RunError: the folder holds no run.
        """
        run = cls(path)
        if run.info_file.exists():
            return run
        names = (file.parent.name for file in path.parent.glob("*/run.json"))
        match = None if path.exists() else closest_match(path.name, names)
        hint = (
            f"did you mean {path.with_name(match)}?" if match else "start one with `cmt-search run`"
        )
        raise RunError(f"{path} holds no run (no run.json); {hint}")

    def info(self) -> RunInfo:
        """Read run.json.

        Raises:
            RunError: it cannot be read.
        """
        try:
            data = json.loads(self.info_file.read_text())
            info = RunInfo(**{**data, "command": tuple(data["command"])})
            if not isinstance(info.storage, str | None):
                raise TypeError("storage is not a string")
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise RunError(
                f"{self.info_file} cannot be read ({error}); restore it from a copy, "
                "or start a new run"
            ) from error
        return info

    def check(self, fingerprint: str) -> None:
        """Refuse another space than the one that the run was created with.

        Raises:
            RunError: the fingerprints differ.
        """
        created_with = self.info().fingerprint
        if fingerprint != created_with:
            raise RunError(
                f"{self.path} was begun with another search space (fingerprint {created_with}, "
                f"this one has {fingerprint}): their trials are not comparable; restore "
                f"{self.space.name}, or start a new run with another --name"
            )

    def storage_url(self, given: str | None = None) -> str:
        """Return the URL of the study: `given`, the environment's, or the one in run.json.

        Raises:
            RunError: it needs a password that neither has, or is not the run's storage.
        """
        stored = self.info().storage
        if stored is None:
            if given is not None:
                raise RunError(
                    f"{self.path} keeps its study in {self.study.name}; leave --storage away, "
                    "or start a new run with it"
                )
            return f"sqlite:///{self.study.resolve()}"
        url = given or os.environ.get(STORAGE_VARIABLE)
        if url is not None and mask_passwords(url) != stored:
            raise RunError(
                f"{self.path} keeps its study in {stored}, not in {mask_passwords(url)}; give the "
                f"former by --storage or ${STORAGE_VARIABLE}; if nothing was trained yet, remove "
                f"{self.path} and start again"
            )
        if url is None and _MASK in stored:
            raise RunError(
                f"{self.path} keeps its study in {stored}, and its password is not written down; "
                f"give the whole URL by --storage or ${STORAGE_VARIABLE}"
            )
        return url or stored

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Be the run's only driver; the system releases the lock when the process ends.

        Raises:
            RunError: another process drives the run, or the folder cannot be written.
        """
        lock = FileLock(self.lock_file, timeout=_LOCK_TIMEOUT)
        try:
            with _write_errors(self.lock_file):
                lock.acquire()
        except Timeout:
            raise RunError(
                f"{self.path} is driven by {self._holder()}; wait for it, watch it with "
                f"`cmt-search status {quote(str(self.path))}`, "
                "or stop it with Ctrl-C (or kill) first"
            ) from None
        try:
            self.write_driver(pid=os.getpid(), host=socket.gethostname(), since=_now())
            yield
        finally:
            lock.release()

    def write_driver(self, **changes: Any) -> None:
        """Change fields of driver.json; only the driver may.

        Raises:
            RunError: the folder cannot be written.
        """
        driver = replace(self._holder(), **changes)
        with _write_errors(self.driver_file):
            atomic_write(self.driver_file, json.dumps(asdict(driver)) + "\n")

    @property
    def study_created(self) -> bool:
        """Whether a driver has created the run's study."""
        return self._holder().study_created

    def driver(self) -> Driver | None:
        """Return the process that drives the run now, if there is one."""
        try:
            handle = os.open(self.lock_file, os.O_RDONLY)  # readers need no write access
        except OSError:
            return None
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)  # released when it is closed
        except BlockingIOError:
            return self._holder()
        except OSError:  # a disk without locks
            return None
        finally:
            os.close(handle)
        return None

    def last_driver(self) -> Driver | None:
        """Return the process that drives the run, or drove it last."""
        try:
            return Driver(**json.loads(self.driver_file.read_text()))
        except (OSError, ValueError, TypeError):
            return None

    def _holder(self) -> Driver:
        """Return the holder of the lock, which may not have written driver.json yet."""
        return self.last_driver() or Driver(pid=0, host="unknown", since="just now")


@contextmanager
def _write_errors(path: Path) -> Iterator[None]:
    """Raise `RunError` where a folder or file of a run cannot be written."""
    try:
        yield
    except Timeout:  # an OSError, too
        raise
    except OSError as error:
        raise RunError(
            f"{path} cannot be written ({error.strerror}); choose another folder, or free it: a "
            "run needs one that it may write, on a disk with room and locks"
        ) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoints:
    """The driver's folder of checkpoints, with a subfolder per job; workers get a copy.

    On another machine the same path may be another disk: a worker uses the folder only if it holds
    the driver's mark. Elsewhere jobs keep no checkpoints and restart when they are killed.
    """

    folder: Path
    mark: str

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Open the folder for a driver; checkpoints of earlier drivers stay.

        Raises:
            RunError: the folder cannot be written.
        """
        folder, mark = folder.resolve(), uuid4().hex
        with _write_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            (folder / _MARK_FILE).write_text(mark)
        return cls(folder=folder, mark=mark)

    def path_for(self, job: Job) -> Path | None:
        """Return the folder of a job, which its training creates; None: not the driver's disk."""
        try:
            is_ours = (self.folder / _MARK_FILE).read_text() == self.mark
        except OSError:
            return None
        is_usable = is_ours and os.access(self.folder, os.W_OK)
        return self.folder / job.checkpoint_name if is_usable else None

    def delete(self, job: Job) -> None:
        """Delete a job's checkpoints."""
        shutil.rmtree(self.folder / job.checkpoint_name, ignore_errors=True)

    def retain(self, keys: Container[str]) -> None:
        """Delete the checkpoints of all networks but these."""
        for folder in self.folder.glob("*/"):
            if folder.name.split("-")[0] not in keys:
                shutil.rmtree(folder, ignore_errors=True)


def mask_passwords(text: str) -> str:
    """Replace the password of a URL; other text is returned as it is.

    The password may hold what a URL should escape, such as @ and spaces.
    """
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    option, equals, rest = text.partition("=") if text.startswith("--") else ("", "", text)
    if ":" not in rest or not ("@" in rest or "passw" in rest.lower()):
        return text
    userinfo, at, address = rest.rpartition("@")
    try:
        url = make_url(userinfo.replace("@", "%40") + at + address)
    except (ArgumentError, ValueError):
        return f"{option}{equals}{rest.partition(':')[0]}:{_MASK}"
    secrets = {name: _MASK for name in url.query if "passw" in name.lower()}
    masked = url.update_query_dict(secrets).render_as_string(hide_password=True)
    return option + equals + masked.replace(quote_plus(_MASK), _MASK)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that decide a result."""
    installed = {"python": platform.python_version()}
    for package in ("cmt-search", "torch", "torchvision", "timm", "optuna", "ray", "numpy"):
        with suppress(PackageNotFoundError):
            installed[package] = version(package)
    return installed


def hardware() -> dict[str, str | int | list[str]]:
    """Describe this machine: system, processor, usable cores, memory, GPUs."""
    memory, gpus = 0, list[str]()
    with suppress(ValueError, OSError):
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with suppress(OSError):
        for file in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information")):
            name = re.search(r"^Model:\s*(.*)", file.read_text(errors="replace"), re.MULTILINE)
            gpus.append(name[1].strip() if name else "unknown")
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": hardware_name("cpu"),
        "cores": usable_cores(),
        "memory_gib": round(memory / 2**30),
        "gpus": gpus,
    }
