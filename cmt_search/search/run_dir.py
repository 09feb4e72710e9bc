"""Run directory: layout, driver lock, environment, checkpoints."""

import fcntl
import json
import os
import platform
import re
import shutil
import socket
from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from shlex import quote
from typing import Any, Self
from uuid import uuid4

from filelock import FileLock, Timeout

from cmt_search.errors import RunError, closest_match
from cmt_search.io import atomic_write
from cmt_search.search.types import Job

STORAGE_VARIABLE = "CMT_SEARCH_STORAGE"
# greedy up to the last @ of the word: a password may hold one, though a URL should not
_PASSWORD = re.compile(r"(:/{1,3})([^:/@\s]*):(\S*)(?=@)")  # of a URL with a slash too few, too
_PASSWORD_OPTION = re.compile(r"(?<=[?&])(\w*passw(?:or)?d)=[^&\s]*", re.IGNORECASE)
_MASK = "***"
_PATIENCE = 0.5  # seconds for the lock: who asks for the driver holds it a moment


@dataclass(frozen=True, slots=True, kw_only=True)
class RunInfo:
    """What run.json holds."""

    name: str  # of the run and of its study; stays when the folder is renamed
    id: str  # tells this run from another of the same name in a shared storage
    created: str  # ISO 8601, UTC
    fingerprint: str  # of the space
    command: tuple[str, ...]
    versions: dict[str, str]
    hardware: dict[str, Any]
    storage: str | None = None  # URL with its password masked; None: study.db in the folder


@dataclass(frozen=True, slots=True, kw_only=True)
class Driver:
    """The process that drives a run."""

    pid: int
    host: str
    since: str  # ISO 8601, UTC
    slots: int | None = None  # most trainings at a time so far; None: none has begun
    cpus: float | None = None  # cores of each
    gpus: float | None = None  # GPUs of each
    study_created: bool = (
        False  # whether the run's study was made, by this process or one before it
    )

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host} since {self.since}"


@dataclass(frozen=True, slots=True)
class RunDir:
    """One folder per run; everything that a run leaves behind lies in it."""

    path: Path

    @property
    def space(self) -> Path:
        """The space file, as it was when the run began."""
        return self.path / "space.yaml"

    @property
    def info_file(self) -> Path:
        """What made the run; written last, so that a folder with it is whole."""
        return self.path / "run.json"

    @property
    def study(self) -> Path:
        """The study, unless a storage URL holds it."""
        return self.path / "study.db"

    @property
    def lock_file(self) -> Path:
        """Locked by the process that drives the run, for as long as it lives."""
        return self.path / "lock"

    @property
    def driver_file(self) -> Path:
        """Who holds, or last held, the lock."""
        return self.path / "driver.json"

    @property
    def measured(self) -> Path:
        """Latency and memory of networks, each with its setting and machine."""
        return self.path / "measured.json"

    @property
    def logged(self) -> Path:
        """Which trials were logged by --log, by target."""
        return self.path / "logged.json"

    @property
    def report(self) -> Path:
        """The report."""
        return self.path / "report.html"

    @property
    def family(self) -> Path:
        """The members that `family` wrote."""
        return self.path / "family.yaml"

    @property
    def exports(self) -> Path:
        """Exported variants."""
        return self.path / "exports"

    @property
    def checkpoints(self) -> Path:
        """Checkpoints of trainings."""
        return self.path / "checkpoints"

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
        """Make the folder of a new run; `name` is that of its study, by default the folder's.

        Raises:
            RunError: the folder already holds a run, or cannot be written.
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
        try:
            path.mkdir(parents=True, exist_ok=True)
            atomic_write(run.space, space_yaml)
            atomic_write(run.info_file, json.dumps(asdict(info), indent=2) + "\n")
        except OSError as error:
            raise RunError(
                f"{path} cannot be written ({error.strerror}); choose another folder, or free it"
            ) from error
        return run

    @classmethod
    def open(cls, path: Path) -> Self:
        """An existing run.

        Raises:
            RunError: there is no run in the folder.
        """
        run = cls(path)
        if run.info_file.exists():
            return run
        others = (found.parent.name for found in path.parent.glob("*/run.json"))
        near = None if path.exists() else closest_match(path.name, others)
        hint = (
            f"did you mean {path.with_name(near)}?" if near else "start one with `cmt-search run`"
        )
        raise RunError(f"{path} holds no run (no run.json); {hint}")

    def info(self) -> RunInfo:
        """What run.json says.

        Raises:
            RunError: it cannot be read.
        """
        try:
            data = json.loads(self.info_file.read_text())
            return RunInfo(**{**data, "command": tuple(data["command"])})
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise RunError(
                f"{self.info_file} cannot be read ({error}); restore it from a copy, "
                "or start a new run"
            ) from error

    def check(self, fingerprint: str) -> None:
        """Refuse a space other than the one that the run began with.

        Raises:
            RunError: the fingerprints differ.
        """
        began = self.info().fingerprint
        if fingerprint != began:
            raise RunError(
                f"{self.path} was begun with another search space (fingerprint {began}, this one "
                f"has {fingerprint}): trials of both would not be comparable; restore "
                f"{self.space.name} as it was, or start a new run with another --name"
            )

    def storage_url(self, given: str | None = None) -> str:
        """The URL of the study: `given`, else the environment's, else the one in run.json.

        Raises:
            RunError: it needs a password that neither names, or is not the run's storage.
        """
        known = self.info().storage
        if known is None:
            if given is not None:
                raise RunError(
                    f"{self.path} keeps its study in {self.study.name}; leave --storage away, "
                    "or start a new run with it"
                )
            return f"sqlite:///{self.study.resolve()}"
        url = given or os.environ.get(STORAGE_VARIABLE)
        if url is not None and mask_passwords(url) != known:
            raise RunError(
                f"{self.path} keeps its study in {known}, not in {mask_passwords(url)}; "
                f"give the former by --storage or ${STORAGE_VARIABLE}, or remove {self.path} if "
                "nothing was trained yet, and begin anew"
            )
        if url is None and _MASK in known:
            raise RunError(
                f"{self.path} keeps its study in {known}, and its password is not written down; "
                f"give the whole URL by --storage or ${STORAGE_VARIABLE}"
            )
        return url or known

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Be the only driver of the run; the system ends it with the process, however it ends.

        Raises:
            RunError: another process drives it, or the folder cannot be written.
        """
        lock = FileLock(self.lock_file, timeout=_PATIENCE)
        try:
            lock.acquire()
        except Timeout:
            raise RunError(
                f"{self.path} is driven by {self._holder()}; wait for it, watch it with "
                f"`cmt-search status {quote(str(self.path))}`, "
                "or stop it with Ctrl-C (or kill) first"
            ) from None
        except OSError as error:
            raise RunError(
                f"{self.lock_file} cannot be locked ({error.strerror}); a run needs a folder that "
                "it may write, on a disk that knows locks"
            ) from error
        try:
            before = self.last_driver()
            now = Driver(pid=os.getpid(), host=socket.gethostname(), since=_now())
            if before is not None:  # what trainings held is not changed by a driver without any
                now = replace(before, pid=now.pid, host=now.host, since=now.since)
            self._sign(now)
            yield
        finally:
            lock.release()

    def write_usage(self, *, slots: int, cpus: float, gpus: float) -> None:
        """Note what the trainings of this process take; for its driver alone.

        Raises:
            RunError: the folder cannot be written.
        """
        self._note(slots=slots, cpus=cpus, gpus=gpus)

    def write_study_created(self) -> None:
        """Note that the study was made; for the run's driver alone.

        Raises:
            RunError: the folder cannot be written.
        """
        self._note(study_created=True)

    @property
    def study_created(self) -> bool:
        """Whether a driver has made the run's study."""
        last = self.last_driver()
        return last is not None and last.study_created

    def check_study(self) -> None:
        """Refuse to begin afresh where a study was: a file of no bytes is a new one to SQLite.

        Raises:
            RunError: the study is gone.
        """
        there = self.study.exists() and self.study.stat().st_size > 0
        if self.study_created and not there and self.info().storage is None:
            state = "empty" if self.study.exists() else "gone"
            raise RunError(
                f"{self.study} is {state}, and the run's trials with it; restore it from a copy, "
                "or start a new run with another --name"
            )

    def _note(self, **changes: Any) -> None:
        driver = self.last_driver()
        assert driver is not None, "a driver signs before it works"
        self._sign(replace(driver, **changes))

    def _sign(self, driver: Driver) -> None:
        try:
            atomic_write(self.driver_file, json.dumps(asdict(driver)) + "\n")
        except OSError as error:
            raise RunError(
                f"{self.driver_file} cannot be written ({error.strerror}); a run needs a folder "
                "that it may write, on a disk with room"
            ) from error

    def driver(self) -> Driver | None:
        """The process that drives the run now, if one does."""
        try:
            handle = os.open(self.lock_file, os.O_RDONLY)  # who may only read may ask, too
        except OSError:
            return None
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)  # let go of when it is closed
        except BlockingIOError:
            return self._holder()
        except OSError:  # a disk that knows no locks
            return None
        finally:
            os.close(handle)
        return None

    def last_driver(self) -> Driver | None:
        """The process that drives the run, or drove it last; None: none has signed."""
        try:
            return Driver(**json.loads(self.driver_file.read_text()))
        except (OSError, ValueError, TypeError):
            return None

    def _holder(self) -> Driver:
        """Who holds the lock; it may not have signed yet."""
        return self.last_driver() or Driver(pid=0, host="unknown", since="just now")


def mask_passwords(text: str) -> str:
    """The text with the password of every URL in it replaced."""
    return _PASSWORD_OPTION.sub(rf"\1={_MASK}", _PASSWORD.sub(rf"\1\2:{_MASK}", text))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


_PACKAGES = ("cmt-search", "torch", "torchvision", "timm", "optuna", "ray", "numpy")


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide a result."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def hardware() -> dict[str, str | int | list[str]]:
    """The driver's machine: system, processor, cores that may be used, memory, GPUs."""
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": _line("/proc/cpuinfo", "model name") or platform.processor() or "unknown",
        "cores": usable_cores(),
        "memory_gib": _memory_gib(),
        "gpus": _gpus(),
    }


def usable_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _line(file: str, key: str) -> str | None:
    """The value of the first `key : value` line of a file, if there is one."""
    try:
        lines = Path(file).read_text(errors="replace").splitlines()
    except OSError:
        return None
    return next((x.partition(":")[2].strip() for x in lines if x.startswith(key)), None)


def _memory_gib() -> int:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30)
    except (ValueError, OSError):
        return 0


def _gpus() -> list[str]:
    files = sorted(Path("/proc/driver/nvidia/gpus").glob("*/information"))
    return [_line(str(file), "Model") or "unknown" for file in files]


_MARK = "driver"


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoints:
    """A folder of the driver's, with a subfolder per job. Workers get a copy of this.

    On another machine a path may exist and be another disk's: a worker uses the folder only where
    it finds in it what the driver wrote, on the same machine or a shared file system. Elsewhere
    jobs keep nothing, and begin anew when they are killed, and with every rung.
    """

    folder: Path
    mark: str

    @classmethod
    def open(cls, folder: Path) -> Self:
        """The driver's; what the driver before it left stays, for its jobs to go on from.

        Raises:
            RunError: the folder cannot be written.
        """
        folder, mark = folder.resolve(), uuid4().hex
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / _MARK).write_text(mark)
        except OSError as error:
            raise RunError(
                f"{folder} cannot be written ({error.strerror}); a run needs a folder that it may "
                "write, on a disk with room"
            ) from error
        return cls(folder=folder, mark=mark)

    def path_for(self, job: Job) -> Path | None:
        """The folder of a job, which its training makes; None: this process cannot reach it."""
        try:
            here = (self.folder / _MARK).read_text() == self.mark
        except OSError:
            return None
        return self.folder / job.slug if here and os.access(self.folder, os.W_OK) else None

    def delete(self, job: Job) -> None:
        """Forget a job's state, in the driver: it is not tried again, or not from there."""
        shutil.rmtree(self.folder / job.slug, ignore_errors=True)

    def retain(self, keys: Container[str]) -> None:
        """Forget the states of all networks but these, in the driver."""
        for folder in self.folder.glob("*/"):
            if folder.name.split("-")[0] not in keys:
                shutil.rmtree(folder, ignore_errors=True)

    def clear(self) -> None:
        """Forget all states, once a search is finished."""
        shutil.rmtree(self.folder, ignore_errors=True)
